# shellcheck shell=bash
# Elasticsearch: one node, security off, the real server without its optional modules (no painless, no _reindex, no GET /).

ELASTICSEARCH_VERSION=8.19.21

elasticsearch_variable() { echo SYNC__ELASTICSEARCH__URL; }

elasticsearch_location() { echo "http://127.0.0.1:$(port elasticsearch)"; }

# Any answer will do, a refusal for want of a password included.
elasticsearch_probe_given() { have curl && curl -s -k -o /dev/null --max-time 3 "${1%/}/_cluster/health"; }

elasticsearch_probe() { elasticsearch_health 'master_timeout=1s&timeout=1s' 3; }

elasticsearch_health() {
    curl -sf -o /dev/null --noproxy '*' --max-time "$2" "$(elasticsearch_location)/_cluster/health?$1"
}

elasticsearch_distribution() { echo "$CACHE/elasticsearch-$ELASTICSEARCH_VERSION"; }

elasticsearch_download() {
    local artifact=org.elasticsearch.distribution.integ-test-zip:elasticsearch:$ELASTICSEARCH_VERSION:zip
    maven "$2" "$MAVEN_DEPENDENCY:unpack" -Dartifact="$artifact" -DoutputDirectory="$2/unpacked" &&
        mv "$2/unpacked/elasticsearch-$ELASTICSEARCH_VERSION" "$1" &&
        chmod -R a+rX "$1" && chmod a+x "$1"/bin/*
}

elasticsearch_prepare() {
    owned_directory "$STACK/elasticsearch" &&
        owned_directory "$STACK/elasticsearch/config" &&
        owned_directory "$STACK/elasticsearch/tmp" &&
        download_once elasticsearch "$(elasticsearch_distribution)" elasticsearch_download
}

elasticsearch_configure() {
    local home config=$STACK/elasticsearch/config
    home=$(readable "$(elasticsearch_distribution)" elasticsearch) || return 1
    cat >"$config/elasticsearch.yml" <<CONF
cluster.name: sync-$NAME
node.name: sync-$NAME
discovery.type: single-node
network.host: 127.0.0.1
http.port: $(port elasticsearch)
transport.port: $(port elasticsearch 1)
path.data: $STACK/elasticsearch/data
path.logs: $STACK/elasticsearch/logs
xpack.security.enabled: false
cluster.routing.allocation.disk.threshold_enabled: false
cluster.max_shards_per_node: 5000
CONF
    # The shipped options without the garbage collector's log, which alone may grow to 2 GB.
    grep -vE '^-Xlog:gc|HeapDumpOnOutOfMemoryError' "$home/config/jvm.options" >"$config/jvm.options"
    log_to_console >"$config/log4j2.properties"
    own "$config"
}

elasticsearch_run() {
    local home
    home=$(readable "$(elasticsearch_distribution)" elasticsearch)
    spawn elasticsearch env -i PATH="$PATH" HOSTNAME="$HOSTNAME" ES_JAVA_HOME="$(java_home)" ES_JAVA_OPTS='-Xms512m -Xmx512m' \
        ES_PATH_CONF="$STACK/elasticsearch/config" ES_TMPDIR="$STACK/elasticsearch/tmp" "$home/bin/elasticsearch"
}

# After a restart the node answers before it has found its indices again. One that stays red is the tests' own affair.
elasticsearch_settle() { elasticsearch_health 'wait_for_status=yellow&timeout=20s' 25 || true; }

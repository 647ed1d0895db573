# shellcheck shell=bash
# OpenSearch: one node, security off, put together of the server's own libraries: no distribution of it can be had with Maven.
# It has no modules but the one that speaks HTTP. Started only when it is named.

# 2.19 runs on the Java the other servers have; 3.9.0 is the other one that was tried, and wants Java 21.
OPENSEARCH_VERSION=${SYNC_STACK_OPENSEARCH_VERSION:-2.19.6}

opensearch_variable() { echo SYNC_STACK_OPENSEARCH; }

opensearch_location() { echo "http://127.0.0.1:$(port opensearch)"; }

opensearch_probe_given() { elasticsearch_probe_given "$1"; }

opensearch_probe() { opensearch_health 'cluster_manager_timeout=1s&timeout=1s' 3; }

opensearch_health() {
    curl -sf -o /dev/null --noproxy '*' --max-time "$2" "$(opensearch_location)/_cluster/health?$1"
}

# Version 2 watches over itself by what Java no longer has from 24 on.
opensearch_java() { case $OPENSEARCH_VERSION in 2.*) java_between 17 23 ;; *) java_between 21 99 ;; esac; }

opensearch_java_package() { case $OPENSEARCH_VERSION in 2.*) echo openjdk-17-jre-headless ;; *) echo openjdk-21-jre-headless ;; esac; }

opensearch_distribution() { echo "$CACHE/opensearch-$OPENSEARCH_VERSION"; }

opensearch_download() {
    local module=$1/modules/transport-netty4 plugin=Netty4ModulePlugin log4j=2.25.5 twin
    local server=("org.opensearch:opensearch:$OPENSEARCH_VERSION" "org.opensearch:opensearch-plugin-classloader:$OPENSEARCH_VERSION")
    case $OPENSEARCH_VERSION in
        2.*) plugin=Netty4Plugin log4j=2.25.4 ;;
        *) server+=("org.opensearch:opensearch-agent-bootstrap:$OPENSEARCH_VERSION") ;;
    esac
    libraries "$2" "$1/lib" "${server[@]}" "org.apache.logging.log4j:log4j-core:$log4j" &&
        libraries "$2" "$module" "org.opensearch.plugin:transport-netty4-client:$OPENSEARCH_VERSION" || return 1
    # A module that brings what the server has is refused.
    for twin in "$module"/*.jar; do
        [[ ! -e $1/lib/${twin##*/} ]] || rm -- "$twin"
    done
    cat >"$module/plugin-descriptor.properties" <<CONF
name=transport-netty4
description=HTTP and the transport between nodes
version=$OPENSEARCH_VERSION
opensearch.version=$OPENSEARCH_VERSION
java.version=17
classname=org.opensearch.transport.$plugin
CONF
    # It opens sockets; what else it may do matters to nobody here.
    echo 'grant { permission java.security.AllPermission; };' >"$module/plugin-security.policy"
    mkdir "$1/bin" "$1/plugins" && chmod -R a+rX "$1"
}

opensearch_prepare() {
    owned_directory "$STACK/opensearch" &&
        owned_directory "$STACK/opensearch/config" &&
        owned_directory "$STACK/opensearch/tmp" &&
        download_once opensearch "$(opensearch_distribution)" opensearch_download
}

opensearch_configure() {
    local config=$STACK/opensearch/config
    cat >"$config/opensearch.yml" <<CONF
cluster.name: sync-$NAME
node.name: sync-$NAME
discovery.type: single-node
network.host: 127.0.0.1
http.port: $(port opensearch)
transport.port: $(port opensearch 1)
path.data: $STACK/opensearch/data
path.logs: $STACK/opensearch/logs
cluster.routing.allocation.disk.threshold_enabled: false
cluster.max_shards_per_node: 5000
CONF
    log_to_console >"$config/log4j2.properties"
    own "$config"
}

opensearch_run() {
    local home java options=(-Xms512m -Xmx512m -XX:+UseG1GC -XX:+ExitOnOutOfMemoryError -Dlog4j2.disable.jmx=true)
    home=$(readable "$(opensearch_distribution)" opensearch) && java=$(opensearch_java) || return 1
    case $OPENSEARCH_VERSION in
        2.*) options+=(-Djava.security.manager=allow) ;;
        *) options+=(--enable-native-access=ALL-UNNAMED) ;;
    esac
    spawn opensearch env -i PATH="$PATH" HOSTNAME="$HOSTNAME" "$java/bin/java" "${options[@]}" \
        -Djava.io.tmpdir="$STACK/opensearch/tmp" -Dopensearch.path.home="$home" \
        -Dopensearch.path.conf="$STACK/opensearch/config" -cp "$home/lib/*" org.opensearch.bootstrap.OpenSearch
}

# As with Elasticsearch: after a restart the node answers before it has found its indices again.
opensearch_settle() { opensearch_health 'wait_for_status=yellow&timeout=20s' 25 || true; }

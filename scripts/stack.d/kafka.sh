# shellcheck shell=bash
# Kafka: one process as broker and controller (KRaft), topics only when somebody creates them.

KAFKA_VERSION=4.4.0
# Kafka logs through slf4j 1.7; without a binding it says nothing at all, not even why it ended.
KAFKA_LOG_BINDING_VERSION=2.25.5

kafka_variable() { echo SYNC__KAFKA__BROKERS; }

kafka_location() { echo "127.0.0.1:$(port kafka)"; }

kafka_probe_given() {
    local brokers broker
    IFS=, read -r -a brokers <<<"$1"
    for broker in "${brokers[@]}"; do
        # A connection, not a request: brokers given from outside may want TLS or a password.
        timeout 3 bash -c "exec 3<>'/dev/tcp/${broker%:*}/${broker##*:}'" 2>/dev/null && return 0
    done
    return 1
}

kafka_probe() {
    port_is_free "$(port kafka)" && return 1
    # A broker that is not yet unfenced answers too, with an empty list.
    kcat -b "127.0.0.1:$(port kafka)" -L -m 3 2>/dev/null | grep -q '^ *broker 1 at'
}

kafka_distribution() { echo "$CACHE/kafka-$KAFKA_VERSION"; }

kafka_download() {
    libraries "$2" "$1" "org.apache.kafka:kafka_2.13:$KAFKA_VERSION" \
        "org.apache.logging.log4j:log4j-slf4j-impl:$KAFKA_LOG_BINDING_VERSION"
}

# $1: the class to run. A small collector pause matters more to the tests than the last bit of throughput.
kafka_java() {
    local libraries class=$1
    libraries=$(readable "$(kafka_distribution)" kafka) || return 1
    shift
    KAFKA_JAVA=(env -i "PATH=$PATH" "$(java_home)/bin/java" -Xms256m -Xmx768m -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20
        -XX:+ExitOnOutOfMemoryError -Djava.awt.headless=true -Djava.io.tmpdir="$STACK/kafka"
        -Dlog4j2.configurationFile="$STACK/kafka.log4j2.properties" -cp "$libraries/*" "$class" "$@")
}

kafka_prepare() {
    owned_directory "$STACK/kafka" &&
        download_once kafka "$(kafka_distribution)" kafka_download &&
        kafka_configure &&
        make_once "$STACK/kafka/data" kafka_format
}

# The formatted directory moves into place afterwards, so it is given by its own settings file.
kafka_format() {
    local output id
    # Sixteen bytes in base64 as Kafka wants it; without '+' and '/' it is right in either alphabet.
    id=$(head -c 64 /dev/urandom | base64 -w 0 | tr -d '+/=' | head -c 21)A
    sed "s#^log.dirs=.*#log.dirs=$1#" "$STACK/kafka.properties" >"$STACK/kafka.format.properties"
    kafka_java kafka.tools.StorageTool format -t "$id" -c "$STACK/kafka.format.properties" || return 1
    output=$("${AS_SERVER_USER[@]}" "${KAFKA_JAVA[@]}" 2>&1) || { say "$output" && return 1; }
}

kafka_configure() {
    cat >"$STACK/kafka.properties" <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$(port kafka 1)
listeners=CLIENT://127.0.0.1:$(port kafka),CONTROLLER://127.0.0.1:$(port kafka 1)
advertised.listeners=CLIENT://127.0.0.1:$(port kafka)
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
log.dirs=$STACK/kafka/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=10
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=10
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
CONF
    log_to_console >"$STACK/kafka.log4j2.properties"
}

kafka_run() {
    kafka_java kafka.Kafka "$STACK/kafka.properties"
    spawn kafka "${KAFKA_JAVA[@]}"
}

kafka_settle() { :; }

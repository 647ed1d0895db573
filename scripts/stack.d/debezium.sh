# shellcheck shell=bash
# Debezium: its PostgreSQL connector with the outbox event router, in a Kafka Connect worker. A peer of the benchmarks, and what the
# messages of a routed table are compared with.

DEBEZIUM_VERSION=3.6.0.Final
# The Kafka this Debezium is built against.
DEBEZIUM_CONNECT_VERSION=4.3.0
# Connect logs through slf4j 1.7; without a binding it says nothing at all, not even why it ended.
DEBEZIUM_LOG_BINDING_VERSION=2.25.5

debezium_distribution() { echo "$CACHE/debezium-$DEBEZIUM_VERSION-connect-$DEBEZIUM_CONNECT_VERSION"; }

# connect/: the worker's class path; plugins/: what its `plugin.path` names, a directory for each plugin.
debezium_download() {
    local pom=$2/pom.xml plugin=$2/plugin
    cat >"$pom" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId>
  <artifactId>debezium</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>connect-runtime</artifactId>
      <version>$DEBEZIUM_CONNECT_VERSION</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>connect-json</artifactId>
      <version>$DEBEZIUM_CONNECT_VERSION</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>$DEBEZIUM_LOG_BINDING_VERSION</version>
    </dependency>
  </dependencies>
</project>
POM
    maven "$2" -f "$pom" "$MAVEN_DEPENDENCY:copy-dependencies" -DincludeScope=runtime -DoutputDirectory="$1/connect" &&
        maven "$2" "$MAVEN_DEPENDENCY:copy" -DoutputDirectory="$plugin" \
            -Dartifact="io.debezium:debezium-connector-postgres:$DEBEZIUM_VERSION:tar.gz:plugin" &&
        mkdir "$1/plugins" &&
        tar -xzf "$plugin"/*.tar.gz --no-same-owner -C "$1/plugins"
}

# For tests and benchmarks, which start and stop the worker themselves.
debezium_ready() {
    [[ -d $(debezium_distribution) ]] || have mvn || install_packages maven
    download_once debezium "$(debezium_distribution)" debezium_download || return 1
    SYNC_STACK_DEBEZIUM=$(debezium_distribution)
    export SYNC_STACK_DEBEZIUM
}

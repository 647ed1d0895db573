# shellcheck shell=bash
# Servers that are no Debian package: downloaded with Maven.

MAVEN_DEPENDENCY=org.apache.maven.plugins:maven-dependency-plugin:3.8.1

# Maven with checksums enforced and a repository of its own, which goes away with the scratch directory.
maven() {
    local scratch=$1 output
    shift
    have mvn || { say "mvn is not there; install maven" && return 1; }
    output=$(cd "$scratch" && mvn -B -q -C -Dmaven.repo.local="$scratch/repository" "$@" 2>&1 </dev/null) || { say "$output" && return 1; }
}

# libraries SCRATCH TARGET GROUP:NAME:VERSION...: these and all they need at run time.
libraries() {
    local pom=$1/pom.xml scratch=$1 target=$2 part
    shift 2
    {
        echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>local</groupId>'
        echo '<artifactId>libraries</artifactId><version>1</version><packaging>pom</packaging><dependencies>'
        for part in "$@"; do
            IFS=: read -r -a part <<<"$part"
            echo "<dependency><groupId>${part[0]}</groupId><artifactId>${part[1]}</artifactId><version>${part[2]}</version></dependency>"
        done
        echo '</dependencies></project>'
    } >"$pom"
    maven "$scratch" -f "$pom" "$MAVEN_DEPENDENCY:copy-dependencies" -DincludeScope=runtime -DoutputDirectory="$target"
}

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

# shellcheck shell=bash
# Servers that are no Debian package: downloaded with Maven into a cache, once for all scripts and clones on the machine.

MAVEN_DEPENDENCY=org.apache.maven.plugins:maven-dependency-plugin:3.8.1

# Calls `$3 TARGET SCRATCH` once for all scripts on the machine; a broken download leaves nothing at TARGET.
download_once() {
    local name=$1 target=$2 download=$3 scratch attempt
    [[ ! -d $target ]] || return 0
    mkdir -p "$CACHE"
    (
        flock 8
        [[ ! -d $target ]] || exit 0
        say "$name: downloading $(basename "$target") to $CACHE (once)"
        scratch=$CACHE/$name.download
        for attempt in 1 2 3; do
            rm -rf -- "$scratch" && mkdir "$scratch"
            if "$download" "$scratch/complete" "$scratch" && mv "$scratch/complete" "$target"; then
                rm -rf -- "$scratch"
                exit 0
            fi
            say "$name: download attempt $attempt of 3 failed"
        done
        rm -rf -- "$scratch"
        exit 1
    ) 8>"$CACHE/$name.lock"
}

# Maven with checksums enforced and a repository of its own, which goes away with the scratch directory.
maven() {
    local scratch=$1 output
    shift
    have mvn || { say "mvn is not there; install maven" && return 1; }
    output=$(cd "$scratch" && mvn -B -q -C -Dmaven.repo.local="$scratch/repository" "$@" 2>&1 </dev/null) || { say "$output" && return 1; }
}

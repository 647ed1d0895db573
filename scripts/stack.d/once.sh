# shellcheck shell=bash
# What is downloaded or built into a cache, once for all scripts and clones on the machine.

# Calls `$3 TARGET SCRATCH` once for all scripts on the machine; a broken download leaves nothing at TARGET.
download_once() {
    local name=$1 target=$2 download=$3 scratch attempt
    [[ ! -d $target ]] || return 0
    mkdir -p "$CACHE"
    (
        flock 8
        [[ ! -d $target ]] || exit 0
        say "$name: bringing $(basename "$target") to $CACHE (once)"
        scratch=$CACHE/$name.download
        for attempt in 1 2 3; do
            rm -rf -- "$scratch" && mkdir "$scratch"
            if "$download" "$scratch/complete" "$scratch" && mv "$scratch/complete" "$target"; then
                rm -rf -- "$scratch"
                exit 0
            fi
            say "$name: attempt $attempt of 3 failed"
        done
        rm -rf -- "$scratch"
        exit 1
    ) 8>"$CACHE/$name.lock"
}

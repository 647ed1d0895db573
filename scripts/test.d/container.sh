# shellcheck shell=bash
# The commands of docs/deployment.md for a container, on a real engine. Its image is not built by deploy/Dockerfile, whose base
# images come from a registry: it holds the program that was just built, what that is linked to, certificates and time zones,
# and has the user, the folder and the entry point that the Dockerfile says.

# Of this run alone: the engine may have an image of the name that is shown.
CONTAINER_IMAGE=sync-runner-test:$$
CONTAINER=
CONTAINER_DATABASE=
CONTAINER_WAY=

engine() { docker --host "$SYNC_STACK_DOCKER" "$@"; }

container() {
    local at=$DEPLOY_SCRATCH/container url commands
    mkdir "$at"
    chmod a+rx "$DEPLOY_SCRATCH"
    container_image "$at/root"
    CONTAINER_DATABASE=container_$$
    on_server "create database $CONTAINER_DATABASE"
    [[ $SYNC__POSTGRES__URL =~ ^([a-z]+://([^@/]*@)?)([^/]+)/ ]]
    url=${BASH_REMATCH[1]}%2Fpg/$CONTAINER_DATABASE
    container_way "$at/pg" "${BASH_REMATCH[3]}"
    # What is deployed, but for what only its containers have.
    cp -r deploy/kubernetes/config "$at/config"
    sed -i -e "s|^password_file = .*/postgres.password\"|url = \"$url\"|" \
        -e 's|^password_file = .*/elasticsearch.password"|password = "secret"|' "$at/config/sync.toml"
    chmod -R a+rX "$at"
    commands=$(shown docker run)
    commands=${commands//sync-runner:0.1.0/$CONTAINER_IMAGE}
    mapfile -t commands <<<"${commands//docker /docker --host $SYNC_STACK_DOCKER }"

    # The password is in the URL; in its place the way there.
    bash -ec "$(sed -e "s|POSTGRES__URL=…|POSTGRES__URL=$url|" -e "s|-e SYNC__POSTGRES__PASSWORD=…|-v $at/pg:/pg|" <<<"${commands[0]}")"
    psql --quiet --no-psqlrc --output /dev/null --command 'table outbox.subscriptions' "${SYNC__POSTGRES__URL%/*}/$CONTAINER_DATABASE" ||
        fail "the schema was not made from the container"

    CONTAINER=$(bash -ec "${commands[1]/-v \/etc\/sync-runner:/-v $at/pg:/pg -v $at/config:}")
    container_works
    engine stop "$CONTAINER" >/dev/null
    [[ $(engine inspect --format '{{.State.ExitCode}}' "$CONTAINER") == 0 ]] ||
        fail "the container did not end in order: $(engine logs "$CONTAINER" 2>&1 | tail -n 5)"
}

container_image() {
    local root=$1 library change changes=()
    mkdir -p "$root"/{etc/sync-runner,etc/ssl/certs,usr/local/bin,usr/share}
    strip -o "$root/usr/local/bin/sync-runner" "${CARGO_TARGET_DIR:-target}/debug/sync-runner"
    for library in $(ldd "$root/usr/local/bin/sync-runner" | grep -o '/[^ ]*'); do
        mkdir -p "$root${library%/*}"
        cp -L "$library" "$root$library"
    done
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs"
    cp -r /usr/share/zoneinfo "$root/usr/share"
    while read -r change; do changes+=(--change "$change"); done < <(grep -E '^(WORKDIR /etc/|(USER|EXPOSE|ENTRYPOINT|CMD) )' deploy/Dockerfile)
    ((${#changes[@]} == 10)) || fail "deploy/Dockerfile says something else of the container: ${changes[*]}"
    tar -C "$root" -c . | engine import "${changes[@]}" - "$CONTAINER_IMAGE" >/dev/null
}

# container_way FOLDER ADDRESS: a container of the tests' engine reaches no address of the machine, only what is mounted.
container_way() {
    mkdir "$1"
    socat "UNIX-LISTEN:$1/.s.PGSQL.5432,fork,mode=777" "TCP:$2" &
    CONTAINER_WAY=$!
    until [[ -S $1/.s.PGSQL.5432 ]]; do
        kill -0 "$CONTAINER_WAY" || fail "socat does not listen"
        sleep 0.1
    done
}

# The lease is held. Kafka is not there, which is waited for, and makes `status` end with 1.
container_works() {
    local by=$((SECONDS + 60)) status=
    until status=$(engine exec "$CONTAINER" sync-runner status --json 2>&1) || jq -e .outbox.holder <<<"$status" >/dev/null 2>&1; do
        ((SECONDS < by)) || fail "the container does not work: $status; $(engine logs "$CONTAINER" 2>&1 | tail -n 5)"
        sleep 0.5
    done
}

remove_container() {
    [[ -z $CONTAINER ]] || engine rm --force "$CONTAINER" >/dev/null || true
    [[ -z $CONTAINER_DATABASE ]] || engine rmi "$CONTAINER_IMAGE" >/dev/null || true
    [[ -z $CONTAINER_WAY ]] || kill "$CONTAINER_WAY" || true
    [[ -z $CONTAINER_DATABASE ]] || on_server "drop database $CONTAINER_DATABASE with (force)" || true
}

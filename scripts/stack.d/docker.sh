# shellcheck shell=bash
# A Docker engine of its own, without the system's: its containers, images and networks are seen by nobody else. It needs
# root. In namespaces of its own, so that whatever ends it, no container, mount or bridge stays behind.

docker_variable() { echo SYNC_STACK_DOCKER; }

docker_location() { echo "unix://$STACK/docker/docker.sock"; }

docker_address() { docker_location; }

docker_ask() { curl -sf -o /dev/null --noproxy '*' --max-time 3 --unix-socket "${1#unix://}" http://docker/_ping; }

docker_probe_given() { have curl && [[ $1 == unix://* ]] && docker_ask "$1"; }

docker_probe() { docker_ask "$(docker_location)"; }

# A root in a container may not be one that can.
docker_can_start() { [[ $(id -u) == 0 ]] && unshare --mount --net --pid --fork true 2>/dev/null; }

docker_prepare() {
    docker_can_start || { say "docker: only root can start an engine; name one in $(docker_variable)" && return 1; }
    local socket
    socket=$(docker_location)
    # The kernel's limit, which the engine would only call an invalid argument.
    ((${#socket} < 100)) || { say "docker: $socket is too long for a socket; set SYNC_STACK_DIR to a shorter path" && return 1; }
    mkdir -p "$STACK/docker"
}

# As after a crash of the machine: processes of before are not looked for.
docker_configure() { rm -rf -- "$STACK/docker/engine.pid" "$STACK/docker/exec"; }

docker_run() {
    local AS_SERVER_USER=() at=$STACK/docker
    spawn docker env -i PATH="$PATH" unshare --mount --net --pid --fork --kill-child --mount-proc dockerd --host "$(docker_location)" \
        --data-root "$at/data" --exec-root "$at/exec" --pidfile "$at/engine.pid" --containerd-namespace "sync-$NAME" \
        --containerd-plugins-namespace "sync-$NAME-plugins" --storage-driver vfs --iptables=false --bridge none
}

# What containers are made of: a shell and its tools, nothing else.
docker_settle() {
    docker_image || say "docker: the image sync-busybox could not be made"
}

docker_image() {
    local root=$STACK/docker/root
    mkdir -p "$root/bin" "$root/tmp" && cp "$(command -v busybox)" "$root/bin/busybox" &&
        chroot "$root" /bin/busybox --install -s /bin &&
        tar -C "$root" -c . | curl -sf -o /dev/null --noproxy '*' --unix-socket "$STACK/docker/docker.sock" -X POST \
            -H 'content-type: application/x-tar' --data-binary @- \
            'http://docker/images/create?fromSrc=-&repo=sync-busybox&tag=latest'
}

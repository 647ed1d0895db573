# shellcheck shell=bash
# Processes that outlive the script that started them: who they are, whether they still run, how they end.

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $*"
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# One line that names a process for good: its id, when it began, and the boot it belongs to. An id alone is handed out again.
identity() {
    local line fields boot
    line=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # The command name, in parentheses, may itself hold blanks and parentheses.
    read -r -a fields <<<"${line##*) }"
    [[ ${fields[0]} != Z ]] || return 1
    boot=$(</proc/sys/kernel/random/boot_id)
    printf '%s %s %s\n' "$1" "${fields[19]}" "$boot"
}

record_process() {
    identity "$1" >"$2.new" || { rm -f "$2.new" && fail "no process $1"; }
    mv "$2.new" "$2"
}

# Whether the process recorded in a file is still that process.
still_runs() {
    local record pid
    [[ -s $1 ]] || return 1
    record=$(<"$1")
    pid=${record%% *}
    [[ $(identity "$pid" 2>/dev/null) == "$record" ]]
}

recorded_pid() {
    local record
    record=$(<"$STACK/$1.pid")
    printf '%s\n' "${record%% *}"
}

alive() { still_runs "$STACK/$1.pid"; }

# Starts a server in a session of its own, so that neither Ctrl-C nor the end of this script reaches it. The record is
# written by the process that becomes the server: there is no moment in which a server runs and nobody knows its id.
spawn() {
    local server=$1
    shift
    (
        exec </dev/null >"$STACK/$server.log" 2>&1 9>&-
        cd "$STACK/$server" || exit 1
        record_process "$BASHPID" "$STACK/$server.pid"
        exec setsid "${AS_SERVER_USER[@]}" "$@"
    ) &
}

# Waits until a recorded process has gone; fails after that many seconds.
gone_within() {
    local end=$((SECONDS + $2))
    while alive "$1"; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

# Seconds a server may take to stop before it is killed. Its data is about to go, or survives a kill.
GRACE=10

stop_servers() {
    local server job stopping=() failed=0
    for server in "$@"; do
        stop_server "$server" &
        stopping+=("$!")
    done
    for job in "${stopping[@]}"; do wait "$job" || failed=1; done
    return "$failed"
}

stop_server() {
    local server=$1 pid
    if alive "$server"; then
        pid=$(recorded_pid "$server")
        say "$server: stopping (pid $pid)"
        kill -s "$(stop_signal "$server")" "$pid" 2>/dev/null || true
        if ! gone_within "$server" "$GRACE"; then
            say "$server: still there after $GRACE s, killing it"
            kill -KILL "$pid" 2>/dev/null || true
            gone_within "$server" 10 || { say "$server: pid $pid does not end" && return 1; }
        fi
        # The session it led: a launcher's server, should the launcher have had to be killed.
        kill -KILL -- "-$pid" 2>/dev/null || true
    fi
    rm -f "$STACK/$server.pid"
}

# Ends a process group, politely for that many seconds.
# Runs in traps, where a bare `return` would give the status of what the signal interrupted: always `return 0` here.
end_group() {
    local end=$((SECONDS + $2))
    kill -TERM -- "-$1" 2>/dev/null || return 0
    # One that was stopped hears of it when it goes on.
    kill -CONT -- "-$1" 2>/dev/null || return 0
    while kill -0 -- "-$1" 2>/dev/null; do
        ((SECONDS < end)) || { kill -KILL -- "-$1" 2>/dev/null || true; return 0; }
        sleep 0.1
    done
}

stop_signal() {
    case $1 in
        # A fast shutdown: TERM would wait for every client to leave.
        postgres) echo INT ;;
        # The one who watches over the engine's namespaces heeds nothing else, and takes all of them with it.
        docker) echo KILL ;;
        # Asked politely, it waits half a minute for threads that have gone already.
        opensearch) echo KILL ;;
        *) echo TERM ;;
    esac
}

# One command at a time works on a stack. The servers do not inherit the lock (see spawn).
lock_stack() {
    mkdir -p "$STACKS"
    [[ -O $STACKS ]] || fail "$STACKS belongs to someone else; set SYNC_STACK_DIR to a directory of yours"
    while :; do
        exec 9>"$STACK.lock"
        if ! flock -n 9; then
            say "another command is at work on the stack '${STACK##*/}'; waiting for it"
            flock 9
        fi
        # `down` removes the file too: a lock on a file that is no longer there locks nobody out.
        if [[ $STACK.lock -ef /proc/self/fd/9 ]]; then return 0; fi
    done
}

# Removes the stacks whose owner was killed before it could.
sweep_orphaned_stacks() {
    local owner name
    for owner in "$STACKS"/*/owner; do
        [[ -e $owner && ${owner%/owner} != "$STACK" ]] || continue
        if still_runs "$owner"; then continue; fi
        # Another command at work on it means that somebody cares for it already.
        flock -n "${owner%/owner}.lock" true || continue
        name=$(basename "${owner%/owner}")
        say "removing the stack '$name': the process it belonged to is gone"
        "$SCRIPTS/stack" down --name "$name" || say "could not remove it; going on"
    done
}

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Below the range the kernel gives to outgoing connections, so that no client holds the port by chance.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 10000))
        if port_is_free "$port" && ! grep -qsw "$port" "$STACKS"/*/*.ports; then
            echo "$port"
            return 0
        fi
    done
}

# Keeps a stopped server's ports while they are free, so that addresses handed out earlier hold again after a restart.
draw_ports() {
    local server=$1 port ports=()
    mkdir -p "$STACK"
    if [[ -s $STACK/$server.ports ]]; then
        read -r -a ports <"$STACK/$server.ports"
        for port in "${ports[@]}"; do port_is_free "$port" || ports=(); done
    fi
    if ((${#ports[@]} != 2)); then
        rm -f "$STACK/$server.ports"
        ports=("$(free_port)" "$(free_port)")
        echo "${ports[*]}" >"$STACK/$server.ports"
    fi
}

# The first port is what clients use, the second what the server needs for itself (Kafka's controller, Elasticsearch's transport).
port() {
    local ports
    read -r -a ports <"$STACK/$1.ports"
    echo "${ports[${2:-0}]}"
}

# shellcheck shell=bash
# What is the same for every server. Each server's file gives, under its name:
#   variable, location     what names it in the environment; where ours is
#   probe, probe_given     whether ours answers; whether another does
#   prepare, configure     what it needs once; its settings for the ports it has now
#   run, settle            start it; what to wait for once it answers
#   address                what to show people, where that is not a port

variable() { "$1_variable"; }

TIMEOUT=${SYNC_STACK_TIMEOUT:-180}

declare -A GIVEN=()

# Notes which servers the environment names: those that answer and are not of this very stack.
look_around() {
    local server variable value
    [[ -z $OWN ]] || return 0
    for server in "${SERVERS[@]}"; do
        variable=$("${server}_variable")
        value=${!variable:-}
        [[ -n $value ]] || continue
        if [[ -s $STACK/$server.ports && $value == "$("${server}_location")" ]]; then continue; fi
        if "${server}_probe_given" "$value"; then
            GIVEN[$server]=$value
        elif [[ $COMMAND == up ]] && is_one_of "$server" "${CHOSEN[@]}"; then
            say "$variable is set to $(shown "$value"), where nothing answers; $server is started here instead"
        fi
    done
}

given() { [[ -n ${GIVEN[$1]:-} ]]; }

# An address without its password.
shown() { sed -E 's#(://[^:/@]*):[^@]*@#\1@#' <<<"$1"; }

location() {
    if given "$1"; then printf '%s\n' "${GIVEN[$1]}"; else "$1_location"; fi
}

address() {
    if given "$1"; then
        shown "${GIVEN[$1]}"
    elif declare -F "$1_address" >/dev/null; then
        "$1_address"
    elif [[ -s $STACK/$1.ports ]]; then
        printf '127.0.0.1:%s\n' "$(port "$1")"
    else
        echo -
    fi
}

answers() { "$1_probe"; }

# Waits until a server answers. 0: it does; 1: it ended; 2: it took too long.
await() {
    local end=$((SECONDS + TIMEOUT))
    until answers "$1"; do
        alive "$1" || return 1
        ((SECONDS < end)) || return 2
        sleep 0.2
    done
}

# Brings one server to the point where it answers. Data that is there is kept: this is also the restart after a crash.
start_server() {
    local server=$1 outcome attempt=0 give_up=0 began=$SECONDS
    if alive "$server"; then
        # Never restarted from here: it may be others who keep it too busy to answer.
        await "$server" && return 0
        say "$server: runs (pid $(recorded_pid "$server")) but does not answer; to begin anew: scripts/stack down --name $NAME"
        return 1
    fi
    say "$server: starting"
    "${server}_prepare" || { say "$server: could not be prepared" && return 1; }
    while :; do
        "${server}_configure" || { say "$server: could not be configured" && return 1; }
        rm -f "$STACK/$server.pid"
        "${server}_run"
        outcome=0
        await_record "$server"
        await "$server" || outcome=$?
        if ((outcome == 0)); then
            "${server}_settle"
            say "$server: up after $((SECONDS - began)) s at $(address "$server")"
            return 0
        fi
        if ((outcome != 1)) || ! is_passing "$server"; then break; fi
        # A second attempt in any case, more of them for ten seconds.
        ((++attempt > 1)) || give_up=$((SECONDS + 10))
        if ((attempt > 1 && SECONDS >= give_up)); then break; fi
        say "$server: a port or a lock is still taken; trying again"
        sleep 1
        draw_ports "$server"
    done
    case $outcome in
        1) say "$server: ended while starting" ;;
        *) say "$server: no answer within $TIMEOUT s (SYNC_STACK_TIMEOUT); is the machine overloaded?" ;;
    esac
    stop_server "$server"
    say "$server: the last lines of $STACK/$server.log:"
    tail -n 30 "$STACK/$server.log" | sed 's/^/    /' >&2
    say "$server: if its data is damaged, 'scripts/stack down --name $NAME' removes it"
    return 1
}

# A server's record appears an instant after it was spawned. The process that writes it may also fail before.
await_record() {
    local tries=0
    until [[ -s $STACK/$1.pid ]] || ((++tries > 100)); do sleep 0.05; done
}

# A port that was taken between drawing it and using it, or what a killed predecessor has not yet let go of.
is_passing() {
    grep -qiE 'already in use|BindException|still in use|could not bind|"postmaster.pid" already exists|node lock|acquire lock' \
        "$STACK/$1.log"
}

# Makes a directory once and whole: the command gets a name beside it as its last argument, renamed when it succeeded.
make_once() {
    local target=$1
    shift
    [[ ! -d $target ]] || return 0
    rm -rf -- "$target.new"
    "$@" "$target.new" && mv "$target.new" "$target"
}

# A distribution where the servers' user can read it: the cache may lie in a home directory that is closed to others.
readable() {
    local distribution=$1 server=$2
    if "${AS_SERVER_USER[@]}" test -r "$distribution/."; then
        echo "$distribution"
        return 0
    fi
    make_once "$STACK/$server.distribution" link_or_copy "$distribution"
    echo "$STACK/$server.distribution"
}

link_or_copy() {
    cp -al "$1" "$2" 2>/dev/null || { rm -rf -- "$2" && cp -a "$1" "$2"; }
}

# Settings of log4j, by which a server in Java says what goes wrong, where its log is kept.
log_to_console() {
    cat <<'CONF'
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p [%c{1}] %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
CONF
}

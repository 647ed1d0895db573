# shellcheck shell=bash
# Servers for the length of one script: those that run are used and left running; what is started here is stopped again.
#
#   trap return_stack EXIT
#   BORROWED_SERVERS=(postgres kafka)     # all, if this is left out
#   borrow_stack
#
# afterwards the environment names the servers (scripts/stack env).

STACK_COMMAND=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/stack
BORROWED_STACK=
BORROWED_SERVERS=()

# Uses the stack that is up (or the servers the environment names), else starts one of its own, so that two scripts at
# once never stop each other's servers. Should this script be killed, the next `up` removes what it started.
borrow_stack() {
    local addresses
    if ! "$STACK_COMMAND" status "${BORROWED_SERVERS[@]}" >/dev/null; then
        BORROWED_STACK=run-$$
        export SYNC_STACK_NAME=$BORROWED_STACK
        "$STACK_COMMAND" up --owner "$$" "${BORROWED_SERVERS[@]}" >&2 || return 1
    fi
    addresses=$("$STACK_COMMAND" env) || return 1
    eval "$addresses"
}

return_stack() {
    [[ -n $BORROWED_STACK ]] || return 0
    "$STACK_COMMAND" down --name "$BORROWED_STACK"
    BORROWED_STACK=
}

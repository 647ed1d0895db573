# shellcheck shell=bash
# Steps of a longer run: each timed, each ended as a whole on an interruption, the table printed however the run ends.

STEPS=()
STEP_PID=
STEP_NAME=
STEP_BEGAN=

# step NAME COMMAND...: runs the command in a process group of its own, so that ending it ends its children too.
step() {
    local code=0
    STEP_NAME=$1 STEP_BEGAN=$(date +%s.%N)
    shift
    printf '\n== %s\n' "$STEP_NAME"
    set -m
    "$@" </dev/null &
    STEP_PID=$!
    set +m
    wait "$STEP_PID" || code=$?
    if ((code == 0)); then note ok; else note "failed ($code)"; fi
    return "$code"
}

note() {
    STEPS+=("$(awk -v a="$STEP_BEGAN" -v b="$(date +%s.%N)" -v name="$STEP_NAME" -v result="$1" \
        'BEGIN { printf "%-14s %8.1f s  %s", name, b - a, result }')")
    STEP_PID= STEP_NAME=
}

# Ends the step that is running, if one is; for a trap on a signal.
end_step() {
    local pid=$STEP_PID
    [[ -n $STEP_NAME ]] || return 0
    note interrupted
    [[ -n $pid ]] || return 0
    # Long, because a nested script stops its servers first.
    end_group "$pid" 60
}

print_steps() {
    ((${#STEPS[@]} > 0)) || return 0
    printf '\n'
    printf '%s\n' "${STEPS[@]}"
}

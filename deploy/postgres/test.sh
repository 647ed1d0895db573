#!/usr/bin/env bash
# Runs every role of sync-runner as a role of PostgreSQL that has what roles.sql grants, and proves that nothing is missing.
set -euo pipefail
umask 077

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<'USAGE'
usage: deploy/postgres/test.sh                   every role does what it is there for, with the grants of roles.sql: minutes
       deploy/postgres/test.sh --each [ROLE...]  and then without each of its grants in turn, when something has to fail: long

  SYNC_RUNNER_BINARY   the program
  SYNC__POSTGRES__URL  as a role that may create roles and databases; SYNC__KAFKA__BROKERS; SYNC__ELASTICSEARCH__URL
  SYNC_STACK_DOCKER    an engine with the image sync-busybox; without one, workspaces are passed over
  SYNC_STACK_KAFKA     a folder of Kafka's jars, and SYNC_STACK_JAVA_HOME, to remove the topics; without them they stay
USAGE
}

say() { printf '%s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

ROLES=(relay indexer reconciler search workspaces watch admin)
EACH=()
case ${1:-} in
    '') ;;
    --each) if (($# > 1)); then EACH=("${@:2}"); else EACH=("${ROLES[@]}"); fi ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
esac
for tool in psql curl jq; do command -v "$tool" >/dev/null || fail "$tool is not there"; done
RUNNER=${SYNC_RUNNER_BINARY:?names the program}
SERVER=${SYNC__POSTGRES__URL:?names a PostgreSQL}
BROKERS=${SYNC__KAFKA__BROKERS:?names a broker}
INDEXES=${SYNC__ELASTICSEARCH__URL:?names an Elasticsearch}
ENGINE=${SYNC_STACK_DOCKER:-}
# Settings of the environment would win over the file.
for variable in "${!SYNC__@}"; do unset "$variable"; done

NAME=roles_test_$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
PASSWORD=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
WORK=$(mktemp -d)
LOGINS=(owner app relay indexer reconciler search workspaces admin)
# Seconds anything may take.
BOUND=60

# --- servers --------------------------------------------------------------------------------------------------------------

# The URL of the test's database, as `super` (who runs this) or as one of the test's own roles.
url_of() {
    local at=${SERVER##*@} query='' who=${NAME}_$1:$PASSWORD
    [[ $1 != super ]] || { who=${SERVER#*://} && who=${who%@*}; }
    [[ $at != *\?* ]] || query="?${at#*\?}"
    printf 'postgres://%s@%s/%s%s' "$who" "${at%%[/?]*}" "$NAME" "$query"
}

sql() { psql -X -q -At -v ON_ERROR_STOP=1 -v VERBOSITY=sqlstate -d "$1" "${@:2}"; }
ask() { sql "$(url_of "$1")" -c "$2"; }
elastic() { curl -sS -o "$WORK/answer" -w '%{http_code}' -X "$1" "$INDEXES/$2" -H 'content-type: application/json' "${@:3}"; }

finish() {
    local code=$? role index
    trap '' INT TERM HUP
    stop_all
    sql "$SERVER" -c "select pg_terminate_backend(pid) from pg_stat_activity where datname = '$NAME'" >/dev/null || true
    sql "$SERVER" -c "drop database if exists $NAME" || code=1
    for role in "${LOGINS[@]}" watch; do sql "$SERVER" -c "drop role if exists ${NAME}_$role" || code=1; done
    for index in $(curl -sS "$INDEXES/_cat/indices/$NAME-*?h=index"); do elastic DELETE "$index" >/dev/null || code=1; done
    [[ -z $ENGINE ]] || forget_containers || code=1
    if [[ -n ${SYNC_STACK_KAFKA:-} && -x ${SYNC_STACK_JAVA_HOME:-}/bin/java ]]; then
        forget_topics || { say "the topics that begin with $NAME stay: $(tail -n 1 "$WORK/err")" && code=1; }
    else
        say "the topics that begin with $NAME stay: SYNC_STACK_KAFKA or SYNC_STACK_JAVA_HOME is not set"
    fi
    rm -rf -- "$WORK"
    exit "$code"
}

# A case that failed may have left some.
forget_containers() {
    local id ask=(curl -sS -f -g --unix-socket "${ENGINE#unix://}")
    "${ask[@]}" "http://docker/containers/json?all=1&filters={\"label\":[\"workspace-owner=$NAME\"]}" | jq -r '.[].Id' |
        while read -r id; do "${ask[@]}" -X DELETE "http://docker/containers/$id?force=1&v=1"; done
}

# sync-runner deletes no topic, and Kafka's own tools may not be there: its client is.
forget_topics() {
    cat >"$WORK/Forget.java" <<'JAVA'
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;

class Forget {
    public static void main(String[] told) throws Exception {
        try (var admin = Admin.create(Map.<String, Object>of("bootstrap.servers", told[0]))) {
            var ours = admin.listTopics().names().get().stream().filter(name -> name.startsWith(told[1])).toList();
            admin.deleteTopics(ours).all().get();
            admin.deleteConsumerGroups(List.of(told[1] + "-jobs")).all().get();
        }
    }
}
JAVA
    timeout 60 "$SYNC_STACK_JAVA_HOME/bin/java" -cp "$SYNC_STACK_KAFKA/*" "$WORK/Forget.java" "$BROKERS" "$NAME" \
        >/dev/null 2>"$WORK/err"
}

# --- processes ------------------------------------------------------------------------------------------------------------

# as ROLE ARGUMENT...: a command, as that role of PostgreSQL.
as() { SYNC__POSTGRES__URL=$(url_of "$1") "$RUNNER" --config "$WORK/sync.toml" "${@:2}"; }

# does ROLE ARGUMENT...: a command that has to succeed.
does() {
    as "$@" >"$WORK/out" 2>"$WORK/err" ||
        fail "as $1, sync-runner ${*:2}: $(cat "$WORK/err" "$WORK/out" | tail -n 4 | tr '\n' ' ')"
}

# start ROLE ROLES ARGUMENT...: a process that runs these roles of the program.
start() {
    SYNC__POSTGRES__URL=$(url_of "$1") "$RUNNER" --config "$WORK/sync.toml" run --roles "$2" "${@:3}" >"$WORK/$1.log" 2>&1 &
    printf '%s\n' "$!" >"$WORK/$1.pid"
}

stop() {
    local pid end=$((SECONDS + 15))
    [[ -f $WORK/$1.pid ]] || return 0
    pid=$(<"$WORK/$1.pid")
    rm -f "$WORK/$1.pid"
    kill -TERM "$pid" 2>/dev/null || return 0
    while kill -0 "$pid" 2>/dev/null; do
        ((SECONDS < end)) || kill -KILL "$pid" 2>/dev/null || true
        sleep 0.05
    done
}

stop_all() {
    local file
    for file in "$WORK"/*.pid; do [[ ! -f $file ]] || stop "$(basename "$file" .pid)"; done
}

# What some process was refused, by its log.
refused() { cat "$WORK"/*.log 2>/dev/null | grep -m 1 -E 'permission denied|must be owner|role halted|SQLSTATE 42501'; }
unrefused() { if refused >"$WORK/refused"; then fail "$(<"$WORK/refused")"; fi; }

# await WHAT COMMAND...: waits until the command succeeds; fails at once when some process was refused something.
await() {
    local end=$((SECONDS + BOUND))
    until "${@:2}" >/dev/null 2>&1; do
        unrefused
        ((SECONDS < end)) || fail "$1: not within $BOUND s"
        sleep 0.1
    done
}

# --- what is asked, and done ----------------------------------------------------------------------------------------------

is() { [[ $(ask owner "$1") == "$2" ]]; }
indexed() { [[ $(elastic GET "$NAME-jobs/_doc/$1") == 200 ]]; }
unindexed() { [[ $(elastic GET "$NAME-jobs/_doc/$1") == 404 ]]; }
noted() { is "select es_synced_at is not null from public.jobs where id = $1" t; }
published() { as owner status --json | jq -e '.outbox.events_behind == 0 and .outbox.holder != null'; }
settled() { as owner status --json | jq -e '.outbox.events_behind == 0 and .bus.jobs.messages_behind == 0'; }
epoch() { ask owner "select coalesce(max(epoch), 0) from outbox.history"; }
letter() { ask owner "select max(id) from outbox.dead_letters where reader = '$1'"; }
letters() { is "select count(*) from outbox.dead_letters" "$1"; }
all_told() { is "select count(*) from outbox.dead_letters where announced_at is null" 0; }
begun() { (($(epoch) > $1)); }
newer() { (($(letter "$1") > $2)); }
# A number that no row has had.
fresh() { ask owner "select nextval('public.fresh')"; }
# The application writes a row: of this title, with a number that the index takes unless it is called poison.
write() { ask app "insert into public.jobs (id, title, n) values ($1, 'invoice', '${2:-1}')"; }
# Past the triggers, so that no message tells.
past() { ask super "set session_replication_role = replica; $1"; }
large() {
    ask app "select outbox.emit('$NAME', 'large-' || nextval('public.fresh'), payload => to_jsonb((
             select string_agg(md5(n::text || random()), '') from generate_series(1, 100000) n)))" >/dev/null
}
newest() { ask owner "update outbox.history set $1 where epoch = (select max(epoch) from outbox.history)"; }
# What a promotion looks like to whoever comes next.
promote() { newest "timeline = timeline + 100"; }
# What it looks like where another copy of this database has written to the index, and to Kafka.
part() { newest "token = gen_random_uuid()"; }
open_port() {
    local port=$((20000 + RANDOM % 12000))
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
    printf '%s\n' "$port"
}

# --- relay ----------------------------------------------------------------------------------------------------------------

# The partition so many days from now.
day() { ask owner "select 'events_' || to_char((now() at time zone 'UTC')::date + $1, 'YYYYMMDD')"; }

# A relay's upkeep, and telling people of dead letters, come right after its start.
tidies() {
    stop relay
    start relay relay
    sleep 2
    is "select to_regclass('outbox.$1') is null and not exists (select from outbox.versions where key = 'gone')" t
}

relay_publishes_and_keeps_house() {
    local ahead old
    ahead=$(day 7) old=$(day -10)
    # A day ahead without a partition, and an old one with the last that was said of a key.
    ask owner "drop table if exists outbox.$ahead, outbox.$old;
               create table outbox.$old (like outbox.events including all excluding identity);
               alter table outbox.events attach partition outbox.$old
                   for values from ('${old#events_} 00:00 UTC') to ('$(day -9 | sed s/events_//) 00:00 UTC');
               delete from outbox.versions where key = 'gone';
               insert into outbox.versions (topic, key, version) values ('$NAME', 'gone', 1);
               insert into outbox.events (topic, key, version, action, created_at)
               values ('$NAME', 'gone', 1, 'DELETE', '${old#events_} 12:00 UTC')"
    start relay relay
    write "$(fresh)"
    await "publishing" published
    await "keeping a snapshot" is "select count(*) > 0 from outbox.snapshots" t
    await "making partitions ahead" is "select to_regclass('outbox.$ahead') is not null" t
    # The next event closes the window that the old one was in.
    write "$(fresh)"
    await "publishing" published
    await "removing old partitions, and versions with them" tidies "$old"
    unrefused
    stop relay
    is "select lease_holder is null from outbox.subscriptions where name = 'search'" t || fail "the lease was not given back"
}

relay_parks_what_kafka_will_not_take() {
    start relay relay
    await "publishing what there is" published
    ask owner "delete from outbox.dead_letters"
    large
    await "parking an event that is too large" letters 1
    await "telling people" all_told
    await "going on" published
}

relay_notes_a_promotion() {
    local before
    before=$(epoch)
    promote
    start relay relay
    await "noting a promotion" begun "$before"
    write "$(fresh)"
    await "publishing after it" published
}

relay_publishes_exactly_once() {
    local before exactly=(--set relay.delivery=exactly_once --set "relay.namespace=$NAME"
        --set "relay.positions_topic=$NAME-positions")
    start relay relay "${exactly[@]}"
    write "$(fresh)"
    await "publishing exactly once" published
    is "select ledger_from is not null from outbox.subscriptions where name = 'search'" t || fail "there is no ledger"
    stop relay
    start relay relay "${exactly[@]}"
    write "$(fresh)"
    await "going on at the position in Kafka" published
    # Sixteen windows on, those that are passed are struck out.
    for _ in {1..20}; do
        write "$(fresh)"
        sleep 0.1
    done
    await "publishing exactly once" published
    stop relay
    before=$(epoch)
    part
    start relay relay "${exactly[@]}"
    await "a position of another history" begun "$before"
    write "$(fresh)"
    await "publishing in the new epoch" published
    unrefused
}

relay_is_sent_back() {
    does relay replay --since 1h
    start relay relay
    await "publishing again" published
}

# --- indexer --------------------------------------------------------------------------------------------------------------

indexer_writes_notes_and_deletes() {
    local id
    id=$(fresh)
    start relay relay
    start indexer indexer
    write "$id"
    await "writing a document" indexed "$id"
    await "noting it in the row" noted "$id"
    ask app "delete from public.jobs where id = $id"
    await "deleting a document" unindexed "$id"
    await "working everything off" settled
    unrefused
}

indexer_parks() {
    start relay relay
    start indexer indexer
    await "working off what there is" settled
    ask owner "delete from outbox.dead_letters"
    write "$(fresh)" poison
    await "parking what the index refuses" letters 1
    await "telling people" all_told
    await "going on" settled
}

indexer_agrees_on_the_history() {
    local before
    start relay relay
    start indexer indexer
    await "working everything off" settled
    stop indexer
    # The relay is at work, and looks again only when it begins anew.
    before=$(epoch)
    promote
    start indexer indexer
    write "$(fresh)"
    await "noting a promotion" begun "$before"
    await "going on" settled
    stop indexer
    before=$(epoch)
    part
    start indexer indexer
    write "$(fresh)"
    await "beginning an epoch" begun "$before"
    await "going on" settled
    unrefused
}

# --- reconciler -----------------------------------------------------------------------------------------------------------

reconciler_fills() {
    local id before
    id=$(fresh)
    past "insert into public.jobs (id, title, n) values ($id, 'untold', '1')"
    does reconciler backfill jobs --restart
    indexed "$id" || fail "the row is not in the index"
    before=$(epoch)
    promote
    does reconciler backfill jobs --restart
    begun "$before" || fail "the promotion was not noted"
    before=$(epoch)
    part
    does reconciler backfill jobs --restart
    begun "$before" || fail "no epoch was begun"
}

reconciler_compares_and_mends() {
    local lost ahead version
    lost=$(fresh) ahead=$(fresh)
    write "$lost" && write "$ahead"
    does reconciler backfill jobs --restart
    elastic DELETE "$NAME-jobs/_doc/$lost" >/dev/null
    elastic GET "$NAME-jobs/_doc/$ahead" >/dev/null
    version=$(jq ._version "$WORK/answer")
    elastic PUT "$NAME-jobs/_doc/$ahead?version=$((version + 50))&version_type=external" -d '{"title": "ahead"}' >/dev/null
    elastic PUT "$NAME-jobs/_doc/orphan?refresh=true" -d '{"title": "orphan"}' >/dev/null
    does reconciler reconcile jobs --full --set reconcile.grace=0s
    indexed "$lost" || fail "what was missing is not in the index"
    unindexed orphan || fail "the orphan is still in the index"
    does reconciler reconcile jobs --full --dry-run --set reconcile.grace=0s
    does reconciler reconcile jobs --set reconcile.grace=0s
}

reconciler_parks() {
    local id
    id=$(fresh)
    ask owner "delete from outbox.dead_letters"
    past "insert into public.jobs (id, title, n) values ($id, 'untold', 'poison')"
    if as reconciler reconcile jobs --full --set reconcile.grace=0s >"$WORK/out" 2>&1; then fail "a refusal was not told"; fi
    letters 1 || fail "what the index refuses was not parked: $(tail -n 2 "$WORK/out")"
    past "delete from public.jobs where id = $id"
    ask owner "delete from outbox.dead_letters"
}

reconciler_makes_an_index_anew() {
    does reconciler reindex jobs --mapping "$WORK/two.json"
    does reconciler reindex jobs --finish
    does reconciler reindex jobs --mapping "$WORK/jobs.json"
    does reconciler reindex jobs --rollback
}

reconciler_keeps_its_schedule() {
    ask owner "delete from outbox.runs"
    start reconciler reconciler --set 'reconcile.schedule=* * * * *'
    BOUND=90 await "a reconciliation when it is due" is "select count(*) > 0 from outbox.runs where ended_at is not null" t
    unrefused
}

# --- search ---------------------------------------------------------------------------------------------------------------

answered() { curl -sS -f "$1" | jq -e --arg source "$2" '.source == $source and .total > 0'; }

search_answers_from_both() {
    local id at more=(--set alerts.log=false --set search.budget=20s --set search.breaker.slow=20s)
    id=$(fresh) at=127.0.0.1:$(open_port)
    write "$id"
    does owner backfill jobs --restart
    start search search --set "search.listen=$at" "${more[@]}"
    await "the index finds" answered "http://$at/search?q=invoice" elasticsearch
    await "the index finds what was just written" answered "http://$at/search?q=invoice&wrote=$id" elasticsearch
    stop search
    start search search --set "search.listen=$at" --set "elasticsearch.url=http://127.0.0.1:9" "${more[@]}"
    await "the database finds" answered "http://$at/search?q=invoice" postgres
    await "the database finds what was just written" answered "http://$at/search?q=invoice&wrote=$id" postgres
    unrefused
}

# --- workspaces -----------------------------------------------------------------------------------------------------------

became() { is "select status from public.spaces where id = '$1'" "$2"; }

workspaces_come_and_go() {
    local id
    id=$NAME-$(fresh)
    start workspaces workspaces,cleanup --set alerts.log=false
    ask app "begin; insert into public.spaces (id) values ('$id'); select outbox.create_workspace('$id'); commit" >/dev/null
    await "creating a workspace" became "$id" RUNNING
    ask app "select outbox.delete_workspace('$id')" >/dev/null
    await "deleting it" became "$id" DELETED
    sleep 1
    unrefused
}

workspaces_by_command() {
    local id
    id=$NAME-$(fresh)
    does workspaces workspace create --id "$id"
    does workspaces workspace list
    does workspaces workspace status "$id"
    does workspaces workspace delete "$id"
    does workspaces workspace cleanup
    became "$id" DELETED || fail "the application was not told"
    id=$NAME-$(fresh)
    if as workspaces workspace create --id "$id" --params '{"setup": [["false"]]}' >"$WORK/out" 2>&1; then
        fail "a creation that fails was no failure"
    fi
    became "$id" FAILED || fail "the application was not told of a failure: $(tail -n 3 "$WORK/out")"
    # One whose end the application refuses.
    id=$NAME-$(fresh)
    ask owner "with s as (insert into outbox.sagas (kind, subject, params, deadline)
                         values ('workspace-create', '$id', '{}', now()) returning id)
               insert into outbox.saga_log (saga, event, detail)
               select s.id, e, '\"as told\"' from s, unnest('{compensating,end_failed}'::text[]) e"
    as workspaces workspace give-up "$id" >"$WORK/out" 2>&1 || true
    is "select outcome from outbox.sagas where subject = '$id'" compensated ||
        fail "it was not given up: $(tail -n 3 "$WORK/out")"
}

# --- admin, and watch -----------------------------------------------------------------------------------------------------

# One letter of the index, whose key is in $WORK/poison, and one of the relay.
park_two() {
    fresh >"$WORK/poison"
    start relay relay
    start indexer indexer
    await "working off what there is" settled
    ask owner "delete from outbox.dead_letters"
    write "$(<"$WORK/poison")" poison
    large
    await "two dead letters" letters 2
    await "working everything off" settled
    stop relay
    stop indexer
}

page() { curl -sS -f -o "$WORK/page" -X "$2" -H "authorization: Bearer $PASSWORD" "http://127.0.0.1:$1/$3"; }
looked() { curl -sS -f -o "$WORK/metrics" "http://127.0.0.1:$1/metrics" && grep -q '^outbox_lag_events' "$WORK/metrics"; }
held_until() {
    ask owner "select coalesce(extract(epoch from max(held_until)) * 1000, 0)::bigint from outbox.leases where name = 'alerts'"
}
errors() { jq -c '[.. | .error? | objects | .message]' "$1"; }

# watches ROLE PORT [COUNT]: what a process with the role admin serves, and that it could look at everything; all but the number
# of rows where nothing is counted.
watches() {
    local before blind='^monitor_failed_total\{.*\} [1-9]' parts
    await "/livez" page "$2" GET livez
    await "/readyz" page "$2" GET readyz
    await "/metrics" looked "$2"
    before=$(held_until)
    sleep 3
    looked "$2"
    parts=$(grep -E "$blind" "$WORK/metrics" | grep -v "${3:-nothing}" || true)
    [[ -z $parts ]] || fail "as $1, not looked at: ${parts//$'\n'/, }"
    page "$2" GET api/status
    [[ $(errors "$WORK/page") == '[]' ]] || fail "as $1, on the status page: $(errors "$WORK/page")"
    (($(held_until) > before)) || fail "as $1, the lease of those who tell people of alerts is not held"
    unrefused
}

admin_shows_everything() {
    local port
    port=$(open_port)
    park_two
    does admin status --json
    [[ $(errors "$WORK/out") == '[]' ]] || fail "status: $(errors "$WORK/out")"
    does admin runs
    does admin dlq list
    does admin dlq show "$(letter jobs)"
    ask owner "delete from outbox.leases; update outbox.dead_letters set announced_at = null, claimed_until = null"
    start admin admin --set "admin.listen=127.0.0.1:$port"
    watches admin "$port"
    await "telling people" all_told
    page "$port" GET "api/dead-letters/$(letter jobs)" || fail "a letter cannot be shown"
}

admin_decides_about_letters() {
    local port before poison
    port=$(open_port)
    park_two
    poison=$(<"$WORK/poison")
    start admin admin --set "admin.listen=127.0.0.1:$port"
    await "/livez" page "$port" GET livez
    before=$(letter jobs)
    if page "$port" POST "api/dead-letters/$before/replay" 2>/dev/null; then fail "what was not mended was replayed"; fi
    newer jobs "$before" || fail "a letter that fails again was not parked anew"
    past "update public.jobs set n = '7' where id = $poison"
    before=$(epoch)
    promote
    page "$port" POST "api/dead-letters/$(letter jobs)/replay" || fail "a letter of an index cannot be replayed"
    letters 1 || fail "the letter is still there"
    indexed "$poison" || fail "the replayed row is not in the index"
    noted "$poison" || fail "that it is in the index was not noted in the row"
    begun "$before" || fail "the promotion was not noted"
    before=$(ask owner "select max(id) from outbox.events")
    page "$port" POST "api/dead-letters/$(letter search)/replay" || fail "a letter of a relay cannot be replayed"
    is "select max(id) > $before from outbox.events" t || fail "its event was not written anew"
    park_two
    page "$port" POST "api/dead-letters/$(letter search)/discard" || fail "a letter cannot be discarded"
    # By command, and after another copy of the database has written to the index.
    before=$(epoch)
    part
    past "update public.jobs set n = '7' where id = $(<"$WORK/poison")"
    does admin dlq replay --all
    begun "$before" || fail "no epoch was begun"
    letters 0 || fail "letters are still there"
    unrefused
}

# By roles that have nothing of admin's but what is to be looked at.
watch_is_enough_for_the_role_admin_of_other_processes() {
    local port
    port=$(open_port)
    ask owner "delete from outbox.leases; delete from outbox.dead_letters;
               insert into outbox.dead_letters (reader, topic, subject, origin_partition, origin_offset, error_kind, error,
                                                attempts, parked_at)
               values ('jobs', '$NAME', 'x', 0, 0, 'refused', 'as told', 1, now())"
    ask super "grant ${NAME}_watch to ${NAME}_search, ${NAME}_relay"
    start search search,admin --set "admin.listen=127.0.0.1:$port" --set "search.listen=127.0.0.1:$(open_port)"
    watches search "$port"
    await "telling people" all_told
    page "$port" GET api/dead-letters || fail "dead letters cannot be listed"
    if page "$port" GET "api/dead-letters/$(letter jobs)" 2>/dev/null; then fail "it reads what a message held"; fi
    if page "$port" POST "api/dead-letters/$(letter jobs)/discard" 2>/dev/null; then fail "it discards letters"; fi
    stop search
    ask owner "delete from outbox.leases"
    # This one may not read the application's tables, so it does not count their rows.
    start relay relay,admin --set "admin.listen=127.0.0.1:$port" --set admin.count_interval=never
    watches relay "$port" 'part="count"'
    ask super "revoke ${NAME}_watch from ${NAME}_search, ${NAME}_relay"
}

# --- what nobody may ------------------------------------------------------------------------------------------------------

# denied ROLE STATEMENT: has to be refused for want of a privilege.
denied() {
    if ask "$1" "$2" >/dev/null 2>"$WORK/err"; then fail "as $1, this was allowed: $2"; fi
    grep -q 42501 "$WORK/err" || fail "as $1: $2: $(<"$WORK/err")"
}

nobody_may_more() {
    local role
    for role in relay watch; do
        [[ $role == relay ]] || ask super "alter role ${NAME}_watch login"
        denied "$role" "select * from public.jobs"
        denied "$role" "insert into public.jobs (id) values (0)"
    done
    ask super "alter role ${NAME}_watch nologin"
    for statement in "select * from outbox.events" "select * from outbox.versions" "select * from outbox.dead_letters" \
        "insert into outbox.events (topic, key, version, action) values ('t', 'k', 1, 'INDEX')" \
        "select outbox.note_history()"; do
        denied app "$statement"
    done
    for role in "${LOGINS[@]:2}"; do
        for statement in "create table outbox.mine ()" "update outbox.events set key = 'x'" "delete from outbox.events" \
            "update outbox.versions set version = 0" "truncate outbox.dead_letters" "select outbox.watch('public.jobs', 'x')" \
            "select * from outbox.adopt_history()" "select outbox.forget_subscription('search')" \
            "update public.jobs set title = 'x'"; do
            denied "$role" "$statement"
        done
        denied "$role" "select outbox.emit('$NAME', 'x')"
        [[ $role == relay ]] || denied "$role" "select outbox.maintain()"
    done
    denied indexer "select * from outbox.events"
    denied search "select * from outbox.dead_letters"
    denied workspaces "select * from public.jobs"
}

nobody_lacks_anything_by_check() {
    local role
    for role in relay indexer reconciler admin; do does "$role" check --roles "$role"; done
    for role in search workspaces; do
        [[ $role == search || -n $ENGINE ]] || continue
        does "$role" check --roles "$role" --set alerts.log=false
    done
    if as indexer check --roles relay >"$WORK/out" 2>&1; then fail "the indexer may be a relay"; fi
    grep -q 'EXECUTE on function outbox.maintain (relay)' "$WORK/out" || fail "it was not told what is missing: $(<"$WORK/out")"
}

# --- the test -------------------------------------------------------------------------------------------------------------

prepare() {
    local role names=()
    for role in "${LOGINS[@]}"; do
        sql "$SERVER" -c "create role ${NAME}_$role login password '$PASSWORD'"
        [[ $role == owner || $role == app ]] || names+=(-v "$role=${NAME}_$role")
    done
    sql "$SERVER" -c "create role ${NAME}_watch password '$PASSWORD'" -c "create database $NAME"
    # As it is by itself from PostgreSQL 15 on.
    ask super "alter database $NAME owner to ${NAME}_owner; grant all on schema public to ${NAME}_owner"
    cat >"$WORK/jobs.sql" <<'SQL'
select id as key, jsonb_build_object('id', id::text, 'title', title, 'n', n) as document, title from public.jobs
SQL
    printf '{"mappings": {"properties": {"id": {"type": "keyword"}, "title": {"type": "text"}, "n": {"type": "integer"}}}}' \
        >"$WORK/jobs.json"
    jq -c '.settings.number_of_shards = 2' "$WORK/jobs.json" >"$WORK/two.json"
    cat >"$WORK/sync.toml" <<TOML
[relay]
lease = "3s"
[kafka]
brokers = "$BROKERS"
group = "$NAME"
[elasticsearch]
url = "$INDEXES"
[indexes.jobs]
topic = "$NAME"
alias = "$NAME-jobs"
projection = "jobs.sql"
mapping = "jobs.json"
synced_at = { table = "public.jobs", key = "id", column = "es_synced_at" }
search = { key = "id", text = ["title"] }
[reconcile]
schedule = "never"
full_schedule = "never"
[admin]
token = "$PASSWORD"
interval = "1s"
[alerts]
poll_interval = "1s"
[workspaces]
owner = "$NAME"
known = "select id, status in ('FAILED', 'DELETED') as is_gone from public.spaces"
create = "insert into public.spaces (id) values (\$1->>'workspace')"
ready = "update public.spaces set status = 'RUNNING' where id = \$1->>'subject'"
failed = "update public.spaces set status = 'FAILED' where id = \$1->>'subject'"
delete = "update public.spaces set status = 'DELETING' where id = \$1->>'workspace'"
deleted = "update public.spaces set status = 'DELETED' where id = \$1->>'subject'"
image = "sync-busybox"
command = ["sleep", "100000"]
[workspaces.hosts.here]
engine = "${ENGINE:-unix:///nobody/listens}"
addresses = "10.0.0.10-10.0.0.200"
TOML
    does owner migrate
    ask owner "create sequence public.fresh;
               create table public.jobs (id bigint primary key, title text, n text, es_synced_at timestamptz);
               create table public.spaces (id text primary key, status text not null default 'CREATING')" >/dev/null
    ask owner "select outbox.watch('public.jobs', '$NAME', ignore => array['es_synced_at'])" >/dev/null
    sql "$(url_of owner)" "${names[@]}" -v "watch=${NAME}_watch" -v "writer=${NAME}_app" -f "$HERE/roles.sql" >/dev/null
    # The application's own.
    ask owner "grant select, insert, update, delete on public.jobs, public.spaces to ${NAME}_app;
               grant usage on sequence public.fresh to ${NAME}_app;
               select outbox.grant_workspaces('${NAME}_app');
               grant select on public.jobs to ${NAME}_indexer, ${NAME}_reconciler, ${NAME}_search, ${NAME}_admin;
               grant update (es_synced_at) on public.jobs to ${NAME}_indexer, ${NAME}_reconciler, ${NAME}_admin;
               grant select, insert, update on public.spaces to ${NAME}_workspaces" >/dev/null
}

cases_of() {
    [[ $1 != workspaces || -n $ENGINE ]] || return 0
    # In the order of this file.
    sed -n "s/^\($1_[a-z_]*\)() {\$/\1/p" "${BASH_SOURCE[0]}"
}

# Runs a case in a shell of its own; what it started is ended.
try() {
    local code=0
    rm -f "$WORK"/*.log
    # What one that failed has left would be done, and told of, in this one.
    past "delete from public.jobs where n = 'poison'"
    ask owner "delete from outbox.sagas; delete from outbox.placements"
    ("$1") 2>"$WORK/why" || code=$?
    stop_all
    return "$code"
}

# Why a case failed: what was refused, where something was.
reason() { grep -m 1 -oE 'permission denied for .*' "$WORK/why" || tail -n 1 "$WORK/why" | sed 's/^error: //'; }

# Each by itself, those of the application's own among them.
grants_of() {
    ask owner "
        with granted as (
            select format('%s on %s', privilege_type, c.oid::regclass) as what, grantee from pg_class c, aclexplode(c.relacl)
            union all
            select format('%s (%I) on %s', privilege_type, attname, attrelid::regclass), grantee
              from pg_attribute, aclexplode(attacl)
            union all
            select format('execute on function %s', p.oid::regprocedure), grantee from pg_proc p, aclexplode(proacl)
            union all
            select format('usage on schema %I', nspname), grantee from pg_namespace, aclexplode(nspacl))
        select distinct what from granted where grantee = '${NAME}_$1'::regrole order by what"
}

without_each() {
    local role=$1 grant grants case broke reason superfluous=0
    mapfile -t grants < <(grants_of "$role")
    for grant in "${grants[@]}"; do
        ask owner "revoke $grant from ${NAME}_$role"
        broke=
        for case in $(cases_of "$role"); do
            try "$case" || { broke=$case && break; }
        done
        reason=$(reason)
        ask owner "grant $grant to ${NAME}_$role"
        if [[ -z $broke ]]; then
            say "  SUPERFLUOUS: $role does all without $grant"
            superfluous=1
        elif try "$broke"; then
            say "  $role without $grant: ${broke//_/ }: $reason"
        else
            say "  BROKEN: $role with all grants after it was without $grant: ${broke//_/ }: $(reason)"
            superfluous=1
        fi
    done
    return "$superfluous"
}

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

prepare
[[ -n $ENGINE ]] || say "no engine (SYNC_STACK_DOCKER): workspaces are passed over"
lacking=0 proved=0
for role in "${ROLES[@]}" nobody; do
    for case in $(cases_of "$role"); do
        if try "$case"; then
            say "ok: ${case//_/ }"
            proved=$((proved + 1))
        else
            say "FAILED: ${case//_/ }: $(sed 's/^error: //' "$WORK/why")"
            lacking=$((lacking + 1))
        fi
    done
done
say "$proved passed, $lacking failed"
((lacking == 0)) || exit 1
for role in "${EACH[@]}"; do
    say "without each grant of $role:"
    without_each "$role" || lacking=1
done
((lacking == 0)) || fail "some grants are superfluous"

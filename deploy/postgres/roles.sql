-- Least privilege: what each role of sync-runner needs in the schema outbox, and nothing else.
--
-- Run it after `sync-runner migrate`, as the outbox's owner or a superuser, with a psql variable for each role that is there;
-- what is not named is left out:
--
--   psql -d app -v relay=sync_relay -v indexer=sync_indexer -v reconciler=sync_reconciler -v search=sync_search \
--        -v workspaces=sync_workspaces -v admin=sync_admin -v watch=sync_watch -v writer=app -f roles.sql
--
-- It only grants, in one transaction: it creates no role, takes nothing away, and may be run again. Do so after each migration,
-- because a newer version may need more. test.sh beside this file runs the program with these grants, and with one less.
--
--   relay, indexer, search    `run --roles` of that name
--   reconciler                `run --roles reconciler`; the commands backfill, reconcile, reindex
--   workspaces                `run --roles workspaces,cleanup`; the commands of `workspace`
--   admin                     `run --roles admin`; the commands status, dlq, runs; replays and discards dead letters
--   watch                     what `admin` reads, for a process that has that role beside its own, which is what serves /livez,
--                             /readyz and /metrics. A role without login, whose members are the others: grant sync_watch
--                             to sync_relay, sync_indexer, sync_search, sync_workspaces. Every process tells people of dead
--                             letters: where one of search or workspaces is no member of it, set alerts.log = false there
--   writer                    the application, where it calls outbox.emit; watched tables need no grant
--
-- A process of several roles logs in as a member of each of them.
--
-- Beside this, in the application's own schemas (which this file does not know):
--
--   usage on the schema, select on what the projections read       indexer, reconciler, search, admin
--   select on the key, update of the column of synced_at           indexer, admin, reconciler
--   what the statements workspaces.known, ready, failed, deleted,
--   create and delete do: execute of their functions, and what
--   these do as their caller                                       workspaces
--   nothing at all                                                 relay, watch
--
-- Only the outbox's owner: `migrate`; outbox.watch and unwatch, also by its members who own the table, who keep what their watches
-- need when they are members no more (docs/deployment.md);
-- outbox.adopt_history and outbox.forget_subscription, which are for people. (`search-indexes --apply` is for the owner of the
-- tables.) `sync-runner check --roles ROLES` says what a role lacks of what is granted here.

\set ON_ERROR_STOP on

begin;

\if :{?relay}
grant usage on schema outbox to :"relay";
grant select on outbox.events to :"relay";
-- The lease and the position.
grant select, insert, update on outbox.subscriptions to :"relay";
-- In which history the database is.
grant select on outbox.history to :"relay";
grant execute on function outbox.agree_history(int, text) to :"relay";
grant execute on function outbox.wake_class() to :"relay";
-- A snapshot a minute, for `replay`; those that are older than the retention go.
grant select, insert, delete on outbox.snapshots to :"relay";
grant execute on function outbox.note_snapshot() to :"relay";
-- Events the bus will never take; and, as in every process, people are told of dead letters.
grant select, insert, update on outbox.dead_letters to :"relay";
-- relay.delivery = "exactly_once".
grant select, insert, delete on outbox.windows to :"relay";
grant usage on sequence outbox.window_seq to :"relay";
grant execute on function outbox.resume(text, bigint, bigint, text, bigint), outbox.passed_window(text),
    outbox.record_window(text, bigint, text, text), outbox.raise_epoch(int) to :"relay";
-- The upkeep: partitions of the days ahead, those of old days, and who holds events back.
grant execute on function outbox.maintain(int), outbox.purge_versions(interval, int), outbox.empty_leaf(interval),
    outbox.retained() to :"relay";
-- The command `replay`.
grant execute on function outbox.rewind(text, timestamptz) to :"relay";
-- The command `check`: what is watched and routed, and whether the triggers for it are there.
grant execute on function outbox.installed() to :"relay";
\endif

\if :{?indexer}
grant usage on schema outbox to :"indexer";
grant select on outbox.versions, outbox.purged to :"indexer";
-- Database and index agree on the history; when they never had the same one, the next epoch begins, which a relay at work takes
-- up when it finds its term over.
grant select on outbox.history to :"indexer";
grant execute on function outbox.agree_history(int, text) to :"indexer";
-- Whether noting in a row that it is indexed would be a change: indexes.NAME.synced_at.
grant select on outbox.watches to :"indexer";
grant execute on function outbox.installed() to :"indexer";
grant select, insert, update on outbox.dead_letters to :"indexer";
\endif

\if :{?reconciler}
grant usage on schema outbox to :"reconciler";
grant select on outbox.versions, outbox.purged to :"reconciler";
grant select on outbox.history to :"reconciler";
grant execute on function outbox.agree_history(int, text) to :"reconciler";
grant select on outbox.watches to :"reconciler";
grant execute on function outbox.installed() to :"reconciler";
grant select, insert, update on outbox.dead_letters to :"reconciler";
grant select, insert, update on outbox.runs to :"reconciler";
-- A version above one that the index has and the database never gave.
grant execute on function outbox.raise_versions(text, text[], bigint) to :"reconciler";
-- `reindex`, which is a relay, too.
grant select, insert, update on outbox.reindexes to :"reconciler";
grant select, insert, update, delete on outbox.subscriptions to :"reconciler";
grant select on outbox.events to :"reconciler";
grant select, insert on outbox.snapshots to :"reconciler";
grant execute on function outbox.wake_class(), outbox.note_snapshot() to :"reconciler";
\endif

\if :{?search}
grant usage on schema outbox to :"search";
-- It notes no history: until relay or indexer have noted a promotion, PostgreSQL answers who names what was just written.
grant select on outbox.versions, outbox.history, outbox.purged to :"search";
grant execute on function outbox.words(text) to :"search";
\endif

\if :{?workspaces}
grant usage on schema outbox to :"workspaces";
-- What ended long ago is forgotten: workspaces.retention.
grant select, update, delete on outbox.sagas to :"workspaces";
grant select, insert on outbox.saga_log to :"workspaces";
grant execute on function outbox.purge_sagas(interval, text[], int) to :"workspaces";
grant select, insert, update, delete on outbox.placements to :"workspaces";
-- The commands `workspace create`, `delete` and `give-up`.
grant execute on function outbox.create_workspace(text, jsonb, interval), outbox.delete_workspace(text),
    outbox.end_saga_untold(text, text) to :"workspaces";
\endif

\if :{?watch}
grant select on outbox.subscriptions to :"watch";
-- How many wait, and since when; not what they hold.
grant select (id, xid, topic, created_at) on outbox.events to :"watch";
grant select on outbox.reindexes, outbox.runs to :"watch";
-- How many events there were, for the rate.
grant select on sequence outbox.events_id_seq to :"watch";
grant execute on function outbox.retained() to :"watch";
-- Who of several processes tells people of alerts.
grant select, insert, update on outbox.leases to :"watch";
-- How many dead letters there are, and that people were told of one; not what its message held.
grant select (id, reader, topic, origin_partition, origin_offset, event_id, key, error_kind, error, attempts, parked_at,
              claimed_until, announced_at),
      update (claimed_until, announced_at) on outbox.dead_letters to :"watch";
-- Where workspaces.hosts has a host.
grant select on outbox.sagas, outbox.saga_log, outbox.placements to :"watch";
-- Counting the rows that should be documents, where its own role may read the application's tables.
grant select on outbox.watches to :"watch";
grant execute on function outbox.installed() to :"watch";
\endif

\if :{?admin}
grant usage on schema outbox to :"admin";
-- As `watch`.
grant select on outbox.subscriptions, outbox.events, outbox.reindexes, outbox.runs, outbox.sagas, outbox.saga_log,
    outbox.placements to :"admin";
grant select on sequence outbox.events_id_seq to :"admin";
grant execute on function outbox.retained(), outbox.installed() to :"admin";
grant select, insert, update on outbox.leases to :"admin";
-- Letters: tried again, parked anew, discarded.
grant select, insert, update, delete on outbox.dead_letters to :"admin";
-- One of an index reads the row and writes it, as the indexer does.
grant select on outbox.versions, outbox.purged, outbox.watches to :"admin";
grant select on outbox.history to :"admin";
grant execute on function outbox.agree_history(int, text) to :"admin";
-- One of a relay writes its event anew, with its key locked meanwhile; locking asks for the update of any column.
grant update (updated_at) on outbox.versions to :"admin";
grant execute on function outbox.emit_again(bigint) to :"admin";
\endif

\if :{?writer}
select outbox.grant_writer(:'writer');
\endif

commit;

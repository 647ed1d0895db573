-- Going back to a time: a snapshot cannot be made of a time afterwards, so one is kept of every minute a relay is at work.

create table outbox.snapshots (
    taken_at timestamptz primary key,
    snapshot text not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

comment on table outbox.snapshots is
'What was committed when: a pg_snapshot of every minute in which a relay was at work, for outbox.rewind.';

create function outbox.note_snapshot() returns void
language sql set search_path = pg_catalog, pg_temp as $$
    -- The row gets its transaction id after the snapshot was taken: a database that knows the row has all it sees. And its
    -- time is read after that: it does not see what is committed later than it says.
    insert into outbox.snapshots (taken_at, snapshot)
    select clock_timestamp(), pg_current_snapshot()::text
     where not exists (select from outbox.snapshots m
                        where m.taken_at between clock_timestamp() - interval '1 minute' and clock_timestamp())
    on conflict do nothing
$$;

comment on function outbox.note_snapshot() is
'Keeps a snapshot of now, unless there is one of the last minute.';

create function outbox.rewind(
    subscription text, since timestamptz, out went_to timestamptz, out retained_from timestamptz
) language plpgsql set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    here outbox.subscriptions;
    mark outbox.snapshots;
begin
    if since is null then
        raise exception 'outbox.rewind: since when is not said' using errcode = 'null_value_not_allowed';
    end if;
    select * into here from outbox.subscriptions s where s.name = rewind.subscription for no key update;
    if not found then
        raise exception 'outbox.rewind: there is no subscription "%"', rewind.subscription using
            errcode = 'undefined_object', hint = 'Its relay makes it when it first runs.';
    end if;
    -- Nothing that was committed since then is seen by this one.
    select * into mark from outbox.snapshots m where m.taken_at <= since order by m.taken_at desc limit 1;
    mark.snapshot := coalesce(mark.snapshot, '1:1:');
    -- It never goes ahead, where events would be passed over.
    if pg_snapshot_xmax(mark.snapshot::pg_snapshot) < pg_snapshot_xmax(here.lo::pg_snapshot) then
        here.lo := mark.snapshot;
        went_to := coalesce(mark.taken_at, '-infinity');
    end if;
    -- The new term fences a relay that is at work on the old position; without a ledger, no position elsewhere counts.
    update outbox.subscriptions s
       set lo = here.lo, hi = null, last = 0, ledger_from = null, lease_term = lease_term + 1,
           updated_at = clock_timestamp()
     where s.name = rewind.subscription;
    select min(r.day)::timestamptz into retained_from from outbox.retained() r;
end
$$;

comment on function outbox.rewind(text, timestamptz) is
'Has a subscription publish again what was committed since that time, as far as it is retained: at once, where its relay is at '
'work. went_to: the moment it went back to, a minute or more before that; -infinity, to the beginning; null, it had yet to '
'publish all of it anyhow. retained_from: events before that day are gone.';

create or replace function outbox.adopt_history(out epoch int, out events bigint)
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    live record;
    fresh uuid;
begin
    lock table outbox.history in share row exclusive mode;
    select * into live from outbox.current_history();
    insert into outbox.history as h (epoch, system_identifier, database_oid, events_oid, timeline)
    select coalesce(max(old.epoch) + 1, 0),
           live.system_identifier, live.database_oid, live.events_oid, live.timeline
    from outbox.history old
    returning h.epoch, h.token into adopt_history.epoch, fresh;

    -- The rows carry transaction ids of another cluster, possibly from this one's future.
    update outbox.events set xid = pg_catalog.pg_current_xact_id();
    get diagnostics events = row_count;

    -- So do the snapshots that outbox.rewind would go back to.
    delete from outbox.snapshots;

    -- The new term fences a relay that was at work on the old position.
    update outbox.subscriptions
    set lo = '1:1:', hi = null, last = 0, history = fresh, ledger_from = null,
        lease_holder = null, lease_until = null, lease_for = null, lease_term = lease_term + 1,
        updated_at = pg_catalog.clock_timestamp();
end
$$;

revoke all on outbox.snapshots from public;
revoke all on function outbox.note_snapshot(), outbox.rewind(text, timestamptz) from public;

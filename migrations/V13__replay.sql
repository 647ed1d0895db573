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

-- A dump brings along the snapshots of another cluster, whose transaction ids mean nothing here.
create function outbox.forget_snapshots() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if (select (h.system_identifier, h.database_oid, h.events_oid)
               is distinct from (new.system_identifier, new.database_oid, new.events_oid)
          from outbox.history h where h.epoch < new.epoch order by h.epoch desc limit 1) then
        delete from outbox.snapshots;
    end if;
    return null;
end
$$;

create trigger forget_snapshots after insert on outbox.history
    for each row execute function outbox.forget_snapshots();

revoke all on outbox.snapshots from public;
revoke all on function outbox.note_snapshot(), outbox.rewind(text, timestamptz), outbox.forget_snapshots() from public;

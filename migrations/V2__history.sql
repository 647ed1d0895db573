-- Which history of the database this is: positions and versions are only comparable within one.

create function outbox.current_history(
    out system_identifier bigint, out database_oid oid, out events_oid oid, out timeline int
) language sql stable set search_path = pg_catalog, pg_temp as $$
    select (select c.system_identifier from pg_catalog.pg_control_system() c),
           (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()),
           'outbox.events'::regclass::oid,
           -- The first eight digits of a log file's name; pg_control_checkpoint() would still say the old one for a
           -- while after a promotion.
           ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int
$$;

comment on function outbox.current_history() is
'What identifies the present history, read from the running server. Fails on a standby.';

create function outbox.note_history(out epoch int, out token uuid, out verdict text)
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    live record;
    newest outbox.history;
begin
    select * into live from outbox.current_history();
    select * into newest from outbox.history h order by h.epoch desc limit 1;
    if newest.epoch is null
       or (newest.system_identifier, newest.database_oid, newest.events_oid, newest.timeline)
          is distinct from (live.system_identifier, live.database_oid, live.events_oid, live.timeline) then
        -- Another process may be noting the same: wait for it, then look again.
        lock table outbox.history in share row exclusive mode;
        select * into newest from outbox.history h order by h.epoch desc limit 1;
    end if;

    if newest.epoch is null then
        verdict := 'first';
    elsif (newest.system_identifier, newest.database_oid, newest.events_oid)
          is distinct from (live.system_identifier, live.database_oid, live.events_oid) then
        verdict := 'foreign';
    elsif newest.timeline <> live.timeline then
        verdict := 'promoted';
    else
        verdict := 'same';
    end if;

    if verdict in ('first', 'promoted') then
        insert into outbox.history as h (epoch, system_identifier, database_oid, events_oid, timeline)
        values (coalesce(newest.epoch + 1, 0),
                live.system_identifier, live.database_oid, live.events_oid, live.timeline)
        returning * into newest;
    end if;
    epoch := newest.epoch;
    token := newest.token;
end
$$;

comment on function outbox.note_history() is
'Compares the running server with the newest row of outbox.history. ''first'': there was none, epoch 0 begins; '
'''same''; ''promoted'': only the timeline differs, the next epoch begins; ''foreign'': restored from a dump, or '
'another cluster: nothing was changed, and a person must call outbox.adopt_history().';

create function outbox.adopt_history(out epoch int, out events bigint)
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

    -- The new term fences a relay that was at work on the old position.
    update outbox.subscriptions
    set lo = '1:1:', hi = null, last = 0, history = fresh, ledger_from = null,
        lease_holder = null, lease_until = null, lease_for = null, lease_term = lease_term + 1,
        updated_at = pg_catalog.clock_timestamp();
end
$$;

comment on function outbox.adopt_history() is
'Called by a person after a restore from a dump, pg_upgrade or a move to another cluster: begins the next epoch and '
'publishes all retained events again.';

revoke all on all functions in schema outbox from public;

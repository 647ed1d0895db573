-- A ledger of windows, for positions that are kept outside this database.
--
-- Transaction ids are handed out again after a lossy promotion or a restore, so a snapshot that another system
-- remembers cannot be trusted. It remembers a number and a random token instead; the snapshot is here, committed before
-- the number is told to anybody by a transaction that began after the snapshot was taken. A database that knows the
-- pair has everything the snapshot sees.

create sequence outbox.window_seq as bigint cache 1 no cycle;

create table outbox.windows (
    n            bigint primary key,
    subscription text collate "C" not null,
    token        uuid not null default pg_catalog.gen_random_uuid(),
    lo           text not null,
    hi           text not null,
    taken_at     timestamptz not null default pg_catalog.clock_timestamp()
) with (fillfactor = 90, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

create index windows_subscription on outbox.windows (subscription, n);

comment on table outbox.windows is
'The windows of subscriptions whose position Kafka keeps. The newest one that is passed, and those after it.';
comment on column outbox.windows.token is
'What tells this window from one another history gave the same number.';

-- Where the subscription goes on, told what Kafka says: window and token, and the last event done inside the window
-- (null when all of it is).
create function outbox.resume(
    subscription text, term bigint, n bigint, token text, done bigint,
    out verdict text, out lo text, out hi text, out last bigint
) language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    here outbox.subscriptions;
    known outbox.windows;
begin
    select * into here from outbox.subscriptions s
     where s.name = resume.subscription and s.lease_term = resume.term for no key update;
    if not found then
        verdict := 'fenced';
        return;
    end if;
    lo := here.lo;
    hi := here.hi;
    last := here.last;

    if here.ledger_from is null then
        delete from outbox.windows w where w.subscription = here.name;
        update outbox.subscriptions s set ledger_from = nextval('outbox.window_seq') where s.name = here.name;
        perform set_config('synchronous_commit', 'on', true) where current_setting('synchronous_commit') = 'off';
        verdict := 'began';
    elsif resume.n < here.ledger_from then
        verdict := 'began';
    elsif resume.n is null then
        verdict := case when outbox.passed_window(here.name) is null then 'began' else 'missing' end;
    else
        select * into known from outbox.windows w
         where w.n = resume.n and w.token::text = resume.token and w.subscription = here.name;
        if not found then
            verdict := 'lost';
        else
            verdict := 'known';
            lo := case when done is null then known.hi else known.lo end;
            hi := case when done is not null then known.hi end;
            last := coalesce(done, 0);
        end if;
    end if;
end
$$;

comment on function outbox.resume(text, bigint, bigint, text, bigint) is
'''known'': from there. ''began'': nothing was published since the subscription keeps a ledger; ''missing'': something '
'was, but the position elsewhere is gone; ''lost'': another history published it; in these three the position of this '
'database, before which everything is published. ''fenced'': another term has begun.';

-- A window whose snapshot is older than the position is passed. Each window''s transaction comes after its snapshot, so
-- the next one''s snapshot ends later.
create function outbox.passed_window(subscription text) returns bigint
language sql stable set search_path = pg_catalog, pg_temp as $$
    select max(w.n)
      from outbox.subscriptions s
      join outbox.windows w on w.subscription = s.name
     where s.name = passed_window.subscription
       and (w.hi = coalesce(s.hi, s.lo)
            or pg_snapshot_xmax(w.hi::pg_snapshot) < pg_snapshot_xmax(coalesce(s.hi, s.lo)::pg_snapshot))
$$;

comment on function outbox.passed_window(text) is
'The newest window of the ledger that the position in this database has reached; null when there is none.';

create function outbox.record_window(
    subscription text, term bigint, lo text, hi text, out n bigint, out token uuid
) language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    -- Whoever takes the lease over waits for this row, or this waits for the take-over and finds it.
    perform from outbox.subscriptions s
      where s.name = record_window.subscription and s.lease_term = record_window.term for share;
    if not found then
        return;
    end if;
    insert into outbox.windows as w (n, subscription, lo, hi)
    values (nextval('outbox.window_seq'), record_window.subscription, record_window.lo, record_window.hi)
    returning w.n, w.token into record_window.n, record_window.token;
    -- Kafka will hold the number for good; the row must not be taken back by a crash.
    perform set_config('synchronous_commit', 'on', true) where current_setting('synchronous_commit') = 'off';
    -- Each time the numbers, which are shared with other subscriptions, have gone on by sixteen.
    if record_window.n / 16 > coalesce((
        select max(w.n) from outbox.windows w
         where w.subscription = record_window.subscription and w.n < record_window.n), 0) / 16 then
        -- The position here is never ahead of the one in Kafka, so that one needs nothing older.
        delete from outbox.windows w
         using outbox.subscriptions s
         where s.name = record_window.subscription and w.subscription = s.name
           and w.n < outbox.passed_window(s.name)
           -- The window the position is inside of may have been entered twice.
           and w.hi is distinct from coalesce(s.hi, s.lo);
    end if;
end
$$;

comment on function outbox.record_window(text, bigint, text, text) is
'Enters a window into the ledger under a new number, and strikes out what is passed. Null when another term has begun.';

create function outbox.raise_epoch(at_least int) returns int
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    newest outbox.history;
begin
    lock table outbox.history in share row exclusive mode;
    select * into strict newest from outbox.history h order by h.epoch desc limit 1;
    if newest.epoch < at_least then
        insert into outbox.history (epoch, system_identifier, database_oid, events_oid, timeline)
        values (at_least, newest.system_identifier, newest.database_oid, newest.events_oid, newest.timeline);
        return at_least;
    end if;
    return newest.epoch;
end
$$;

comment on function outbox.raise_epoch(int) is
'Begins the epoch of this number unless it, or a later one, has begun, and returns the present one. For when another '
'history used the present one''s number: the relay does it when Kafka holds a position this database never gave, and a '
'person who decides that this database is the one to go on with.';

revoke all on function outbox.resume(text, bigint, bigint, text, bigint), outbox.passed_window(text),
    outbox.record_window(text, bigint, text, text), outbox.raise_epoch(int) from public;

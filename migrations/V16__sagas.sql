-- Sagas: work of several steps outside the database, each with what undoes it. What is about to be done is written here
-- first, so that whatever dies when, somebody else finishes it or takes it back.

create table outbox.sagas (
    id         bigint generated always as identity primary key,
    kind       text collate "C" not null check (octet_length(kind) between 1 and 249),
    subject    text collate "C" not null check (octet_length(subject) between 1 and 512),
    params     jsonb not null,
    deadline   timestamptz not null,
    cancelled  text,
    outcome    text collate "C" check (outcome in ('done', 'compensated')),
    holder     text,
    term       bigint not null default 0,
    held_until timestamptz,
    began_at   timestamptz not null default pg_catalog.clock_timestamp(),
    ended_at   timestamptz,
    unique (kind, subject),
    check ((outcome is null) = (ended_at is null))
);

create index sagas_unfinished on outbox.sagas (subject, id) where ended_at is null;
create index sagas_ended_at on outbox.sagas (ended_at) where ended_at is not null;

create table outbox.saga_log (
    id      bigint generated always as identity primary key,
    saga    bigint not null references outbox.sagas on delete cascade,
    event   text collate "C" not null
        check (event in ('acting', 'done', 'failed', 'compensating', 'undoing', 'undone', 'undo_failed', 'left')),
    step    text collate "C",
    attempt int,
    detail  jsonb,
    at      timestamptz not null default pg_catalog.clock_timestamp()
);

create index saga_log_saga on outbox.saga_log (saga, id);

comment on table outbox.sagas is
'Work of several steps that is done as a whole or taken back: one row for each that was begun with outbox.begin_saga.';
comment on column outbox.sagas.kind is 'Which steps it has; whoever works on sagas knows them by this name.';
comment on column outbox.sagas.subject is
'What it is about. A saga of one kind is run once for a subject; of several about one subject the earlier ends first.';
comment on column outbox.sagas.deadline is 'When it is taken back unless it is done, on this database''s clock.';
comment on column outbox.sagas.cancelled is 'Why somebody wants it taken back; null when nobody does.';
comment on column outbox.sagas.outcome is 'done: all of it. compensated: everything was taken back, or noted as left.';
comment on column outbox.sagas.term is
'Grows by one at each take-over; whatever is written about the saga names the term it was granted.';
comment on column outbox.sagas.held_until is 'Until then nobody else takes it up, on this database''s clock.';
comment on table outbox.saga_log is
'What sagas did, in order. acting and undoing are written before, the others after; left is what could not be undone.';

create function outbox.begin_saga(kind text, subject text, params jsonb default '{}', time_allowed interval default '10 minutes')
returns bigint language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    begun bigint;
    earlier record;
begin
    if (octet_length(begin_saga.kind) between 1 and 249 and octet_length(begin_saga.subject) between 1 and 512
        and begin_saga.params is not null and begin_saga.time_allowed > interval '0'
        and begin_saga.time_allowed <= interval '1000 years') is not true then
        raise exception 'outbox.begin_saga: wanted are a kind of 1 to 249 bytes, a subject of 1 to 512, params that are not '
                        'null, and a time allowed above zero, of 1000 years at most' using errcode = 'invalid_parameter_value';
    end if;
    insert into outbox.sagas as s (kind, subject, params, deadline)
    values (begin_saga.kind, begin_saga.subject, begin_saga.params, clock_timestamp() + begin_saga.time_allowed)
    on conflict (kind, subject) do nothing
    returning s.id into begun;
    if begun is null then
        select s.id, s.params into earlier from outbox.sagas s
         where s.kind = begin_saga.kind and s.subject = begin_saga.subject;
        if earlier.params is distinct from begin_saga.params then
            raise exception 'outbox.begin_saga: % of % was begun already, with other params (saga %)',
                begin_saga.kind, begin_saga.subject, earlier.id using errcode = 'unique_violation';
        end if;
        begun := earlier.id;
    end if;
    return begun;
end
$$;

comment on function outbox.begin_saga(text, text, jsonb, interval) is
'Has a saga begun once this transaction commits, and returns its id. May be repeated with the same params: a saga of one '
'kind is run once for a subject. time_allowed is how long it may take until it is taken back, counted from now.';

create function outbox.cancel_saga(kind text, subject text, why text default 'cancelled') returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with cancelled as (
        update outbox.sagas s set cancelled = coalesce(s.cancelled, cancel_saga.why, 'cancelled')
         where s.kind = cancel_saga.kind and s.subject = cancel_saga.subject and s.ended_at is null
        returning 1)
    select exists (select from cancelled);
$$;

comment on function outbox.cancel_saga(text, text, text) is
'Has a saga that is not over taken back once this transaction commits; says whether there is one. It may be done all the '
'same, when it was about to be.';

create function outbox.purge_sagas(keep interval, kinds text[], at_most int default 10000) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    purged bigint;
begin
    if (keep >= interval '0' and kinds is not null and at_most > 0) is not true then
        raise exception 'outbox.purge_sagas: keep is how old ended sagas of these kinds get at least, as in interval ''30 days'', '
                        'and at_most how many go at once' using errcode = 'invalid_parameter_value';
    end if;
    with old as (
        select s.id from outbox.sagas s where s.ended_at < clock_timestamp() - keep and s.kind = any (kinds)
         order by s.ended_at limit at_most for update skip locked)
    delete from outbox.sagas s using old o where s.id = o.id;
    get diagnostics purged = row_count;
    return purged;
end
$$;

comment on function outbox.purge_sagas(interval, text[], int) is
'Forgets sagas of these kinds that ended so long ago, with their log; returns how many. After that the same may be begun anew.';

create function outbox.grant_sagas(role name) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    execute format('grant usage on schema outbox to %I', role);
    execute format('grant execute on function outbox.begin_saga(text, text, jsonb, interval),
                    outbox.cancel_saga(text, text, text) to %I', role);
end
$$;

comment on function outbox.grant_sagas(name) is
'Lets a role begin and cancel sagas, and so have done whatever the workers do: give it only to roles that may.';

revoke all on outbox.sagas, outbox.saga_log from public;
revoke all on function outbox.begin_saga(text, text, jsonb, interval), outbox.cancel_saga(text, text, text),
    outbox.purge_sagas(interval, text[], int), outbox.grant_sagas(name) from public;

-- What the outbox keeps: events, per-key versions, where each subscription stands, dead letters, watches.
--
-- The schema itself is created by whoever runs the migrations, before the first one.

comment on schema outbox is
'The transactional outbox: committed changes on their way to a search index. Write with outbox.emit or outbox.watch.';

-- The two tables every emit writes have no check constraints: PostgreSQL parses a constraint anew for each statement,
-- which made an emit a quarter dearer. Only this schema's functions may write there, and they check.

-- Events ----------------------------------------------------------------------------------------------------------

create table outbox.events (
    id         bigint generated always as identity (cache 1),
    xid        xid8 not null default pg_catalog.pg_current_xact_id(),
    topic      text collate "C" not null,
    key        text collate "C" not null,
    version    bigint not null,
    action     text collate "C" not null,
    payload    jsonb,
    headers    jsonb,
    created_at timestamptz not null default pg_catalog.clock_timestamp()
) partition by range (created_at);

create index events_xid on outbox.events (xid);

-- Without it an insert would fail as soon as nobody has created the day's leaf: see outbox.maintain for its price.
create table outbox.events_default partition of outbox.events default;
-- A leaf published for logical replication must still take the update of outbox.adopt_history.
alter table outbox.events_default replica identity full;

comment on table outbox.events is
'Committed changes, append-only, one leaf a day (UTC). Rows are never updated or deleted one by one; whole leaves '
'are emptied once every subscription has passed them.';
comment on column outbox.events.id is
'Drawn under the lock of the key''s row in outbox.versions, so that per key it grows in the order of commit.';
comment on column outbox.events.xid is
'The transaction that wrote the event: a window is what one snapshot sees of these and an earlier one does not.';
comment on column outbox.events.version is
'The key''s logical clock after this change, 0 to 2^48 - 1.';
comment on column outbox.events.action is
'INDEX or DELETE. Advice: whoever applies the event reads the current row and decides by that.';
comment on column outbox.events.payload is
'The value of the message instead of the standard one.';
comment on column outbox.events.headers is
'Further headers of the message: a flat object of strings.';
comment on table outbox.events_default is
'Events of days that had no leaf because outbox.maintain did not run. They are published like all others.';

-- Versions --------------------------------------------------------------------------------------------------------

-- One sequence for all keys, so that a key that was purged and comes back never starts low again. It must not be
-- cached: numbers handed to sessions in advance would not be in the order of the row locks.
create sequence outbox.version_seq as bigint minvalue 1 maxvalue 281474976710655 cache 1 no cycle;

comment on sequence outbox.version_seq is 'Source of every version; ends at 2^48 - 1.';

-- Updated by every emit. Half of each page is left free so that the update stays on the page (HOT), and vacuum comes
-- long before the default fifth of the table is dead.
create table outbox.versions (
    topic      text collate "C" not null,
    key        text collate "C" not null,
    version    bigint not null,
    updated_at timestamptz not null default pg_catalog.clock_timestamp(),
    primary key (topic, key)
) with (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 1
);

comment on table outbox.versions is
'A logical clock for each key. Its row lock orders the writers of one key even when they touch no common row; it '
'survives the deletion of the entity.';

-- Subscriptions ---------------------------------------------------------------------------------------------------

create table outbox.subscriptions (
    name         text collate "C" primary key check (octet_length(name) between 1 and 249),
    id           int generated always as identity unique,
    topics       text[],
    lo           text not null default '1:1:',
    hi           text,
    last         bigint not null default 0,
    lease_holder text,
    lease_term   bigint not null default 0,
    lease_until  timestamptz,
    lease_for    interval,
    history      uuid,
    ledger_from  bigint,
    updated_at   timestamptz not null default pg_catalog.clock_timestamp()
) with (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

comment on table outbox.subscriptions is
'Who reads the outbox, how far each has come, and who holds its lease.';
comment on column outbox.subscriptions.id is
'Second half of the advisory lock (outbox.wake_class(), id), held exclusively while the subscription''s relay '
'sleeps.';
comment on column outbox.subscriptions.topics is
'The topics it wants; null for all.';
comment on column outbox.subscriptions.lo is
'A pg_snapshot: all it sees is done. ''1:1:'' sees nothing: the beginning of what is retained.';
comment on column outbox.subscriptions.hi is
'A pg_snapshot: the end of the window being read, null between windows.';
comment on column outbox.subscriptions.last is
'Id of the last event done inside the window.';
comment on column outbox.subscriptions.lease_term is
'Grows by one at each take-over; every update of the position names the term it was granted.';
comment on column outbox.subscriptions.lease_until is
'When the lease runs out, on this database''s clock.';
comment on column outbox.subscriptions.lease_for is
'How long a renewal is good for: a lease that lasts longer than twice that was renewed before the clock was set back, and '
'binds nobody.';
comment on column outbox.subscriptions.history is
'The token (outbox.history) of the history in which the position was taken.';
comment on column outbox.subscriptions.ledger_from is
'Positions elsewhere count from this window on; null while this row alone says where the subscription stands.';

-- Every emit looks here which relays to wake. It is a table of its own because a subscription's row is updated many
-- times a second: beside one old snapshot its dead versions would pile up, and every writer would wade through them.
create table outbox.doorbells (
    id           int primary key,
    subscription text collate "C" not null,
    topics       text[]
);

comment on table outbox.doorbells is
'One row a subscription, kept by a trigger: what a writer must know to wake its relay.';

create function outbox.hang_doorbell() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op <> 'INSERT' then
        delete from outbox.doorbells where id = old.id;
    end if;
    if tg_op <> 'DELETE' then
        insert into outbox.doorbells (id, subscription, topics) values (new.id, new.name, new.topics);
    end if;
    return null;
end
$$;

create trigger hang_doorbell after insert or delete on outbox.subscriptions
    for each row execute function outbox.hang_doorbell();
create trigger rehang_doorbell after update on outbox.subscriptions
    for each row when ((old.id, old.name, old.topics) is distinct from (new.id, new.name, new.topics))
    execute function outbox.hang_doorbell();

-- History ---------------------------------------------------------------------------------------------------------

create table outbox.history (
    epoch             int primary key check (epoch between 0 and 32767),
    token             uuid not null unique default pg_catalog.gen_random_uuid(),
    system_identifier bigint not null,
    database_oid      oid not null,
    events_oid        oid not null,
    timeline          int not null,
    since             timestamptz not null default pg_catalog.clock_timestamp()
);

comment on table outbox.history is
'The histories this database has had, the newest row being the present one. A promotion or a restore begins a new '
'one, because transaction ids and versions may be handed out again.';

-- Dead letters ----------------------------------------------------------------------------------------------------

create table outbox.dead_letters (
    id               bigint generated always as identity primary key,
    reader           text collate "C" not null,
    topic            text collate "C" not null,
    subject          text collate "C" not null,
    origin_partition int not null,
    origin_offset    bigint not null,
    event_id         bigint,
    key              text,
    value            text,
    error_kind       text not null,
    error            text not null,
    attempts         int not null check (attempts >= 0),
    parked_at        timestamptz not null,
    claimed_until    timestamptz,
    announced_at     timestamptz,
    unique (reader, topic, subject)
);

create index on outbox.dead_letters (id) where announced_at is null;

comment on table outbox.dead_letters is
'Events that could not be applied, with the reason, until a person decides.';
comment on column outbox.dead_letters.id is 'A new one each time the same is parked again.';
comment on column outbox.dead_letters.reader is
'The index that could not take it, or the subscription whose relay could not publish it.';
comment on column outbox.dead_letters.subject is
'A digest of the key, or of the origin where there is no key or the event was never published.';
comment on column outbox.dead_letters.origin_partition is
'-1 for an event that never reached the bus; origin_offset is then its id in outbox.events.';

comment on column outbox.dead_letters.claimed_until is
'Until then some process is telling people of it.';
comment on column outbox.dead_letters.announced_at is
'When people were told of it.';

-- Watches ---------------------------------------------------------------------------------------------------------

create table outbox.watches (
    relation      regclass not null,
    relation_name text not null,
    topic         text collate "C" not null,
    key           text[],
    columns       text[],
    ignore        text[] not null,
    parent        regclass,
    parent_key    text[],
    lookup        text,
    always        boolean not null,
    each          text not null,
    function      text not null,
    watched_at    timestamptz not null default pg_catalog.clock_timestamp(),
    primary key (relation, topic)
);

comment on table outbox.watches is 'What outbox.watch has installed.';
comment on column outbox.watches.relation_name is 'The table''s name when it was watched, for when it is gone.';
comment on column outbox.watches.each is 'Whether its triggers are for each ''row'' or ''statement''.';
comment on column outbox.watches.function is 'The trigger function in schema outbox.';

revoke all on all tables in schema outbox from public;
revoke all on all sequences in schema outbox from public;
revoke all on all functions in schema outbox from public;

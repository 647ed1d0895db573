-- Two tables, each with a topic and an index; rows of a third are part of an item's document.

create table items (
    id text primary key, title text not null, revision int not null default 1, poisoned bool not null default false
);
create table notes (like items including all);
create table parts (
    item_id text references items on delete cascade, n int, name text not null, primary key (item_id, n)
);

create table topics (name text primary key, topic text not null);

create function watch_all() returns void language plpgsql as $$
declare
    items text := (select topic from topics where name = 'items');
begin
    perform outbox.watch('public.items', items);
    perform outbox.watch('public.parts', items, key => array['item_id'], parent => 'public.items');
    perform outbox.watch('public.notes', (select topic from topics where name = 'notes'));
end
$$;

-- Every position there was, in the order of the commits. `done` counts the transactions a snapshot sees as done: it
-- grows with each window that had an event.
create table positions (n bigint generated always as identity, subscription text, done bigint, last bigint);

create function keep_position() returns trigger language plpgsql as $$
declare
    lo pg_snapshot := new.lo::pg_snapshot;
begin
    insert into positions (subscription, done, last)
    values (new.name, pg_snapshot_xmax(lo)::text::bigint - (select count(*) from pg_snapshot_xip(lo)), new.last);
    return null;
end
$$;

create trigger keep_position after update on outbox.subscriptions
    for each row when ((old.lo, old.hi, old.last) is distinct from (new.lo, new.hi, new.last))
    execute function keep_position();

-- What belongs to the outbox's owner, whoever called for it.

create function outbox.owner() returns name
language sql stable set search_path = pg_catalog, pg_temp as $$
    select pg_get_userbyid(c.relowner) from pg_class c where c.oid = 'outbox.events'::regclass
$$;

comment on function outbox.owner() is
'Whose the outbox is: with the rights of this role its functions write for others.';

-- Watches ---------------------------------------------------------------------------------------------------------

-- The function of a watch runs with the rights of its owner. Made by a member of the outbox's owner it was that member's, and
-- every write to the table failed as soon as this one could no longer write to the outbox, or was to be dropped. Now it is
-- given to the outbox's owner, who therefore has to be able to read what the function reads.

-- Refuses what the outbox's owner may not read: its columns for a truncate, the parent's for every change.
create function outbox.check_rights(w outbox.watches) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    owner name := outbox.owner();
    closed regclass;
    place name;
begin
    select c.oid, n.nspname into closed, place
      from (select w.relation, unnest(w.key) union all select w.parent, unnest(w.parent_key)
            -- Of a watch with a lookup outbox.check_lookup tries it all, as the owner.
            union all select w.relation, null where w.key is null) as read (relation, name)
      join pg_class c on c.oid = read.relation
      join pg_namespace n on n.oid = c.relnamespace
     where not has_schema_privilege(owner, n.oid, 'usage')
        or not coalesce(has_column_privilege(owner, c.oid, read.name, 'select'),
                        has_any_column_privilege(owner, c.oid, 'select'))
     limit 1;
    if found then
        raise exception 'outbox.watch: the outbox''s owner, %, may not read %', owner, closed using
            errcode = 'insufficient_privilege',
            detail = 'The triggers run with its rights.',
            hint = format('grant usage on schema %I to %I; grant select on %s to %I;', place, owner, closed, owner);
    end if;
end
$$;

-- As in V4, but with the rights with which the triggers will run it: those of the outbox's owner.
create or replace function outbox.check_lookup(w outbox.watches) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    said text;
begin
    if outbox.lookup_sql(w, 'new') ~ '\$[0-9]' then
        raise exception 'it may use the row only column by column' using errcode = 'syntax_error';
    end if;
    -- Never executed for a row: this only lets PostgreSQL check names, types and permissions.
    execute format(E'select (\n%s\n)::text from (select * from %s limit 0) as new',
                   outbox.lookup_sql(w, 'new'), w.relation);
exception when syntax_error_or_access_rule_violation then
    get stacked diagnostics said = message_text;
    raise exception 'outbox.watch: lookup cannot be used: %', said using
        errcode = sqlstate,
        hint = case sqlstate
            when '42501' then format('It runs with the rights of the outbox''s owner, %s.', outbox.owner())
            else 'It is one select of one column, with the changed row as ($1).column and tables as schema.table.'
        end;
end
$$;

create or replace function outbox.watch(
    relation   regclass,
    topic      text,
    key        text[]   default null,
    columns    text[]   default null,
    ignore     text[]   default '{}',
    parent     regclass default null,
    parent_key text[]   default null,
    lookup     text     default null,
    always     boolean  default false,
    each       text     default 'row'
) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    w outbox.watches;
    hash text := left(encode(sha256(convert_to(topic, 'UTF8')), 'hex'), 8);
    trigger_name text := format('outbox_%s_%s', left(topic, 32), hash);
    kind record;
    place record;
begin
    w.relation := relation;
    w.relation_name := relation::text;
    w.topic := topic;
    w.key := case when key is null and parent is null and lookup is null then outbox.primary_key(relation) else key end;
    w.columns := columns;
    w.ignore := coalesce(ignore, '{}');
    w.parent := parent;
    w.parent_key := coalesce(parent_key, outbox.primary_key(parent));
    w.lookup := lookup;
    w.always := coalesce(always, false);
    w.each := each;
    w.function := format('watch_%s_%s', relation::oid, hash);
    w.watched_at := clock_timestamp();
    perform outbox.check_watch(w);
    perform outbox.check_each(w);
    perform outbox.check_rights(w);
    perform outbox.unwatch(relation, topic);

    execute format('create function outbox.%I() returns trigger language plpgsql security definer
                    set search_path = pg_catalog, pg_temp%s as %L', w.function,
                   -- A plan made for one row must not be one that takes for ever with many; compiling it takes longer
                   -- than running it.
                   case when each = 'statement' then ' set enable_nestloop = off set jit = off' end,
                   case when each = 'statement' then outbox.statement_body(w)
                        when lookup is null then outbox.key_body(w) else outbox.lookup_body(w) end);
    execute format('revoke all on function outbox.%I() from public', w.function);
    execute format('comment on function outbox.%I() is %L', w.function,
                   format('Writes the changes of %s to topic %s. Generated by outbox.watch.', relation, topic));
    -- Which takes a member of it: anybody else makes no watch that would write with rights of its own.
    execute format('alter function outbox.%I() owner to %I', w.function, outbox.owner());

    for kind in
        select kinds.* from (values
            ('row', '_row', 'insert or delete', 'for each row'),
            ('row', '_update', 'update', format('for each row when (%s)', outbox.changed_sql(w))),
            ('statement', '_insert', 'insert', 'referencing new table as new_rows for each statement'),
            ('statement', '_delete', 'delete', 'referencing old table as old_rows for each statement'),
            ('statement', '_update', 'update',
             'referencing old table as old_rows new table as new_rows for each statement')
        ) as kinds (each, suffix, event, how)
        where kinds.each = w.each
    loop
        execute format('create trigger %I after %s on %s %s execute function outbox.%I()',
                       trigger_name || kind.suffix, kind.event, relation, kind.how, w.function);
    end loop;
    for place in
        select relation as of union
        select t.relid from pg_partition_tree(relation) t join pg_class c on c.oid = t.relid
        where t.isleaf and c.relkind = 'r'
    loop
        execute format('create trigger %I before truncate on %s for each statement execute function outbox.%I()',
                       trigger_name || '_truncate', place.of, w.function);
    end loop;
    if w.always then
        for place in
            select t.tgrelid::regclass as of, t.tgname from pg_trigger t
            where t.tgfoid = format('outbox.%I()', w.function)::regprocedure
        loop
            execute format('alter table %s enable always trigger %I', place.of, place.tgname);
        end loop;
    end if;

    insert into outbox.watches select (w).*;
    return 'outbox.' || w.function;
end
$$;

comment on function outbox.watch(regclass, text, text[], text[], text[], regclass, text[], text, boolean, text) is
'Writes an event to topic for every change of a row of the table; called again, it replaces the watch.
key: the columns of the key, in order (null: the primary key); several are joined as outbox.key does it.
columns: only updates that change one of these count, or one of the key. ignore: updates that change nothing but '
'these do not.
parent, parent_key: key refers to a row of this other table, whose key the events are about; a child without a '
'parent is nobody''s.
lookup: for a row that concerns many keys, one select of them as text, with the row as ($1).column.
always: also where session_replication_role is replica.
each: ''row'', or ''statement'' for a table that changes by many rows at a time: a third less for those, '
'nearly half more for one. It needs a unique key of the table itself, and sees nothing that is written through '
'another table: leave it out before you make the table a partition or a child.
Call it as the owner of the table (the privilege trigger on it will do, unless always is true) who is the owner of the outbox '
'or a member of it. The triggers run with the rights of the outbox''s owner, whoever calls: it has to be allowed to read the '
'table, and what parent and lookup name.
It takes a lock that waits for open writers of the table. Call it again when a column of the key was renamed, or a leaf was '
'added that may be truncated by itself.
Not seen: detached and dropped leaves. A change of a table watched by lookup does not reach the row that another '
'transaction, open at the same time, is just making refer to it. Reconciliation finds both.';

revoke all on function outbox.owner(), outbox.check_rights(outbox.watches) from public;

-- These are new, and a superuser may be at work here for the owner, who calls them.
do $$
begin
    execute format('alter function outbox.owner() owner to %I', outbox.owner());
    execute format('alter function outbox.check_rights(outbox.watches) owner to %I', outbox.owner());
end
$$;

-- Those that were made before. Where this may not be done, `sync-runner check` tells of them, and calling outbox.watch again does
-- it.
do $$
declare
    owner name := outbox.owner();
    w outbox.watches;
begin
    for w in
        select known.* from outbox.watches known
        join pg_proc p on p.pronamespace = 'outbox'::regnamespace and p.proname = known.function
        where pg_get_userbyid(p.proowner) <> owner
    loop
        begin
            -- Given to one who may not read what it reads, it would break what works.
            perform outbox.check_rights(w);
            if w.lookup is not null then
                perform outbox.check_lookup(w);
            end if;
            execute format('alter function outbox.%I() owner to %I', w.function, owner);
        exception when others then
            raise warning 'outbox.watch: the triggers of % for topic % do not run with the rights of the outbox''s owner, %: %',
                w.relation_name, w.topic, owner, sqlerrm using
                hint = 'Call outbox.watch for it again.';
        end;
    end loop;
end
$$;

-- Upkeep ----------------------------------------------------------------------------------------------------------

-- Leaves belong to the owner of outbox.events, who alone can attach, empty and remove them. Each of these does one thing, to the
-- outbox only, whatever its caller puts in the way: so a relay may be allowed to call it, and own nothing.

alter function outbox.maintain(int) security definer;
alter function outbox.purge_versions(interval, int) security definer;
alter function outbox.empty_leaf(interval) security definer;

comment on function outbox.maintain(int) is
'Creates the daily leaves of outbox.events for today and so many days ahead, and returns how many it made. Whoever may execute '
'it, the relay, calls it at least once in that many days, in a transaction of its own, as often as it likes, also several at '
'once.
Open writers do not wait for it, nor it for them, except those that use the default leaf: then it gives up after '
'half a second, and the next call goes on.
A day without a leaf costs no event: they go to outbox.events_default and are published like all others. The price: '
'each leaf attached later first searches that table, while nobody can read or write it, and its space is only freed '
'once all its rows are past retention.';

comment on function outbox.purge_versions(interval, int) is
'Takes the versions of keys away that were deleted so long ago, whose deletion every subscription has passed, and about '
'which nothing was said since; returns how many. To be called before outbox.empty_leaf, which takes the events away that say '
'so, by whoever may execute it: the relay.';

comment on function outbox.empty_leaf(interval) is
'Empties the oldest leaf whose day ended so long ago and whose events every subscription has passed, or removes one that '
'was emptied; returns its name, null when there is none for now. Whoever may execute it, the relay, calls it, each time in a '
'transaction of its own, until it returns null. Open writers do not wait for it, nor it for them; of a leaf somebody '
'reads it gives up after half a second.';

-- History ---------------------------------------------------------------------------------------------------------

-- Who may note a promotion, or have the next epoch begin, need not be able to write whatever they like into the history, nor take
-- any relay's lease from it.

alter function outbox.note_history() security definer;
alter function outbox.raise_epoch(int) security definer;
alter function outbox.agree_history(int, text) security definer;

-- Migrations ------------------------------------------------------------------------------------------------------

-- Which were applied is no secret from who may use the schema: every role asks, so that it does not run beside a schema that is
-- older than itself. (The table is made by whatever applies them.)
do $$
begin
    if to_regclass('outbox.migrations') is not null then
        grant select on outbox.migrations to public;
    end if;
end
$$;

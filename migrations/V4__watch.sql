-- Watching tables: triggers that write an event for every change of a row.
--
-- outbox.watch generates one trigger function for each table and topic, with the names of the columns written into it.
-- All functions before it take a row of outbox.watches; they check it, or write a part of that function.

-- Checks ----------------------------------------------------------------------------------------------------------

-- Refuses names that are not columns of the table, or are named twice.
create function outbox.check_columns(relation regclass, argument text, names text[]) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    wrong text;
    similar_name text;
    known text[] := array(
        select a.attname::text from pg_attribute a
        where a.attrelid = relation and a.attnum > 0 and not a.attisdropped order by a.attnum);
begin
    if array_position(names, null) is not null then
        raise exception 'outbox.watch: % holds a null', argument using errcode = 'null_value_not_allowed';
    end if;
    select n into wrong from unnest(names) n where n <> all (known) limit 1;
    if found then
        select c into similar_name from unnest(known) c where lower(c) = lower(wrong) limit 1;
        raise exception 'outbox.watch: % names %, which is no column of %', argument, quote_literal(wrong), relation using
            errcode = 'undefined_column',
            hint = coalesce('Did you mean ' || quote_literal(similar_name) || '? ', '')
                   || 'Its columns: ' || array_to_string(known, ', ') || '.';
    end if;
    select n into wrong from unnest(names) n group by n having count(*) > 1 limit 1;
    if found then
        raise exception 'outbox.watch: % names % twice', argument, quote_literal(wrong) using
            errcode = 'duplicate_column';
    end if;
end
$$;

-- Refuses columns in a key whose text depends on the session's settings: the same row would have several keys.
create function outbox.check_key(relation regclass, argument text, names text[]) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    wrong text;
begin
    perform outbox.check_columns(relation, argument, names);
    with recursive typed (name, type) as (
        select a.attname, a.atttypid from pg_attribute a where a.attrelid = relation and a.attname = any (names)
        union all
        select typed.name, t.typbasetype from typed join pg_type t on t.oid = typed.type where t.typtype = 'd'
    )
    select format('%I, of type %s,', typed.name, format_type(t.oid, null)) into wrong
    from typed join pg_type t on t.oid = typed.type
    where t.oid in ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype, 'interval'::regtype,
                    'float4'::regtype, 'float8'::regtype, 'money'::regtype, 'bytea'::regtype, 'json'::regtype)
       or t.typtype in ('c', 'm', 'r') or t.typcategory = 'A'
    limit 1;
    if found then
        raise exception 'outbox.watch: % of % cannot be part of a key', wrong, relation using
            errcode = 'feature_not_supported',
            detail = 'How such a value is written as text depends on the settings of the session.',
            hint = 'Name other columns in ' || argument || ', or add a generated column of type text.';
    end if;
end
$$;

create function outbox.primary_key(relation regclass) returns text[]
language sql stable set search_path = pg_catalog, pg_temp as $$
    select array_agg(a.attname::text order by k.place)
    from pg_index i
    cross join unnest(i.indkey) with ordinality as k (attnum, place)
    join pg_attribute a on a.attrelid = relation and a.attnum = k.attnum
    where i.indrelid = relation and i.indisprimary and k.place <= i.indnkeyatts
$$;

-- The unique index on exactly these columns, or null. A deferrable one does not count: when a trigger fires, two rows
-- may have the same key.
create function outbox.unique_index(relation regclass, names text[]) returns oid
language sql stable set search_path = pg_catalog, pg_temp as $$
    select i.indexrelid from pg_index i
    where i.indrelid = relation and i.indisunique and i.indimmediate and i.indisvalid
      and i.indpred is null and i.indexprs is null
      and (select array_agg(a.attname::text order by a.attname)
           from unnest(i.indkey) with ordinality as k (attnum, place)
           join pg_attribute a on a.attrelid = relation and a.attnum = k.attnum
           where k.place <= i.indnkeyatts)
          = array(select n from unnest(names) n order by n collate "C")
    order by i.indisprimary desc, i.indexrelid limit 1
$$;

-- A lookup's SQL with its $1 replaced by the row `of_row` (new or old). By name, because a partition's columns may be
-- in another order.
create function outbox.lookup_sql(w outbox.watches, of_row text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select regexp_replace(btrim(w.lookup, E' \t\r\n;'), '(\(\s*\$1\s*\)|\$1)\s*\.\s*(?!\*)', of_row || '.', 'g')
$$;

create function outbox.check_lookup(w outbox.watches) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    said text;
begin
    if outbox.lookup_sql(w, 'new') ~ '\$[0-9]' then
        raise exception 'it may use the row only column by column' using errcode = 'syntax_error';
    end if;
    -- Never executed for a row: this only lets PostgreSQL check names and types.
    execute format(E'select (\n%s\n)::text from (select * from %s limit 0) as new',
                   outbox.lookup_sql(w, 'new'), w.relation);
exception when syntax_error_or_access_rule_violation then
    get stacked diagnostics said = message_text;
    raise exception 'outbox.watch: lookup cannot be used: %', said using
        errcode = sqlstate,
        hint = 'It is one select of one column, with the changed row as ($1).column and tables as schema.table.';
end
$$;

create function outbox.check_watch(w outbox.watches) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    class pg_class;
    wrong text;
begin
    if (w.topic !~ '[^a-zA-Z0-9._-]' and octet_length(w.topic) between 1 and 249
        and w.topic not in ('.', '..')) is not true then
        perform outbox.refuse(w.topic, null, null, null);
    end if;
    select * into class from pg_class c where c.oid = w.relation;
    if class.oid is null then
        raise exception 'outbox.watch: there is no table %', quote_nullable(w.relation::text) using
            errcode = 'undefined_table';
    elsif class.relkind not in ('r', 'p') then
        raise exception 'outbox.watch: % is not a table', w.relation using
            errcode = 'wrong_object_type',
            hint = 'Of a view, watch the tables it reads: with parent, or with lookup.';
    elsif class.relpersistence = 't' or class.relnamespace in ('outbox'::regnamespace, 'pg_catalog'::regnamespace) then
        raise exception 'outbox.watch: % cannot be watched', w.relation using
            errcode = 'wrong_object_type', hint = 'Neither temporary tables, nor the outbox''s own, nor the system''s.';
    end if;

    perform outbox.check_columns(w.relation, 'columns', w.columns);
    perform outbox.check_columns(w.relation, 'ignore', w.ignore);
    if w.columns is not null and w.ignore <> '{}' then
        raise exception 'outbox.watch: columns and ignore cannot both be given' using
            errcode = 'invalid_parameter_value', hint = 'With columns, all others are ignored.';
    end if;
    select a.attname into wrong from pg_attribute a join pg_type t on t.oid = a.atttypid
    where a.attrelid = w.relation and a.attname = any (w.ignore) and t.typtype = 'd' limit 1;
    if found then
        raise exception 'outbox.watch: column % cannot be ignored, its type is a domain', quote_literal(wrong) using
            errcode = 'feature_not_supported', hint = 'List the columns to watch instead.';
    end if;

    if w.lookup is not null then
        if w.key is not null or w.parent is not null or w.parent_key is not null then
            raise exception 'outbox.watch: lookup says the keys; key and parent cannot be given with it' using
                errcode = 'invalid_parameter_value';
        end if;
        perform outbox.check_lookup(w);
        return;
    end if;

    if w.key is null and w.parent is null then
        raise exception 'outbox.watch: % has no primary key', w.relation using
            errcode = 'invalid_parameter_value', hint = 'Name the columns of the key: key => array[''id''].';
    elsif cardinality(w.key) > 0 is not true then
        raise exception 'outbox.watch: key names no column' using
            errcode = 'invalid_parameter_value',
            hint = 'With parent, key names the columns of this table that refer to it.';
    end if;
    perform outbox.check_key(w.relation, 'key', w.key);
    if w.key && w.ignore then
        raise exception 'outbox.watch: a column of the key cannot be ignored' using
            errcode = 'invalid_parameter_value';
    end if;

    if w.parent is null then
        if w.parent_key is not null then
            raise exception 'outbox.watch: parent_key needs parent' using errcode = 'invalid_parameter_value';
        end if;
        return;
    end if;
    if w.parent_key is null then
        raise exception 'outbox.watch: the parent % has no primary key', w.parent using
            errcode = 'invalid_parameter_value', hint = 'Name its columns in parent_key.';
    end if;
    perform outbox.check_key(w.parent, 'parent_key', w.parent_key);
    if cardinality(w.parent_key) <> cardinality(w.key) then
        raise exception 'outbox.watch: key has % columns, but the parent''s key has %',
            cardinality(w.key), cardinality(w.parent_key) using errcode = 'invalid_parameter_value';
    elsif outbox.unique_index(w.parent, w.parent_key) is null then
        raise exception 'outbox.watch: there is no unique index on %(%)', w.parent, array_to_string(w.parent_key, ', ')
            using errcode = 'invalid_foreign_key', hint = 'Each change of a child asks whether its parent exists.';
    end if;
end
$$;

-- Parts of the generated function ---------------------------------------------------------------------------------

-- SQL for the key in the row `of_row`, as outbox.key would make it. A child's column is first cast to the type of the
-- parent's, for a number with its scale, so that both write the same key.
create function outbox.key_sql(w outbox.watches, of_row text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
    select string_agg(
        case when cardinality(w.key) = 1 then part.value
             else format($part$replace(replace(%s, '\', '\\'), ':', '\:')$part$, part.value) end,
        ' || '':'' || ' order by part.place)
    from (
        select named.place,
               format('%s.%I%s::text', of_row, a.attname,
                      case when b.atttypid = 'numeric'::regtype and b.atttypmod <> a.atttypmod
                           then '::' || format_type(b.atttypid, b.atttypmod)
                           when a.atttypid <> b.atttypid then '::' || format_type(b.atttypid, -1) end) as value
        from unnest(w.key, coalesce(w.parent_key, w.key)) with ordinality as named (name, counterpart, place)
        join pg_attribute a on a.attrelid = w.relation and a.attname = named.name
        join pg_attribute b on b.attrelid = coalesce(w.parent, w.relation) and b.attname = named.counterpart
    ) as part
$$;

-- SQL for the action to write about the row `of_row`; `gone` when that row no longer exists.
create function outbox.action_sql(w outbox.watches, of_row text, gone boolean) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
    select case
        when w.parent is null then
            -- Where other rows may have the same key, a row that is gone says nothing about the entity.
            case when gone and outbox.unique_index(w.relation, w.key) is not null then '''DELETE''' else '''INDEX''' end
        else (
            -- The operators are those of the parent's unique index: right for its types, whatever schema they are in.
            select format('case when exists (select from %s as parent where %s) then ''INDEX'' else ''DELETE'' end',
                w.parent,
                string_agg(format('parent.%I operator(%I.%s) %s.%I%s',
                    b.attname, n.nspname, o.oprname, of_row, a.attname,
                    case when a.atttypid <> b.atttypid then '::' || format_type(b.atttypid, -1) end),
                    ' and ' order by named.place))
            from unnest(w.key, w.parent_key) with ordinality as named (name, counterpart, place)
            join pg_attribute a on a.attrelid = w.relation and a.attname = named.name
            join pg_attribute b on b.attrelid = w.parent and b.attname = named.counterpart
            join pg_index i on i.indexrelid = outbox.unique_index(w.parent, w.parent_key)
            cross join unnest(i.indkey, i.indclass) as indexed (attnum, opclass)
            join pg_opclass c on c.oid = indexed.opclass
            join pg_amop m on m.amopfamily = c.opcfamily and m.amopstrategy = 3
                          and m.amoplefttype = c.opcintype and m.amoprighttype = c.opcintype
            join pg_operator o on o.oid = m.amopopr
            join pg_namespace n on n.oid = o.oprnamespace
            where indexed.attnum = b.attnum)
    end
$$;

-- What an update must change to count, as the condition of its trigger: no other update even enters the function.
-- Rows are compared as they are stored, which works for every type. Ignored columns are made null on both sides, by
-- name: so columns added later are watched, and the others may still be altered and dropped.
create function outbox.changed_sql(w outbox.watches) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select case
        when w.columns is not null then (
            -- Between two row(…), PostgreSQL would take the operator for one on each pair of columns.
            select format('pg_catalog.record_image_ne(row(%s), row(%s))',
                          string_agg(format('old.%I', c), ', '), string_agg(format('new.%I', c), ', '))
            from (select distinct c from unnest(w.columns || w.key) c order by c) as watched)
        when w.ignore <> '{}' then (
            select format('pg_catalog.jsonb_populate_record(old, %1$L) operator(pg_catalog.*<>) '
                          'pg_catalog.jsonb_populate_record(new, %1$L)', jsonb_object_agg(i, null))
            from unnest(w.ignore) i)
        else 'old.* operator(pg_catalog.*<>) new.*'
    end
$$;

-- Where the rows a TRUNCATE is about to remove can be read, as a FROM item. A partitioned table's own trigger fires
-- beside those of its leaves, and answers for the leaves that have none because they were added later.
create function outbox.truncated_rows(relation oid, trigger_name name) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
    select case c.relkind
        when 'p' then format('(select * from %s where tableoid <> all (%L::oid[])) as new', c.oid::regclass, array(
            select leaf.tgrelid
            from pg_trigger own join pg_trigger leaf on leaf.tgfoid = own.tgfoid and leaf.tgname = own.tgname
            where own.tgrelid = c.oid and own.tgname = trigger_name and leaf.tgrelid <> c.oid))
        else format('only %s as new', c.oid::regclass)
    end
    from pg_class c where c.oid = relation
$$;

-- What the key is made of, for messages.
create function outbox.made_of(w outbox.watches) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
    select case when w.lookup is null then format('%s(%s)', w.relation, array_to_string(w.key, ', '))
                else format('lookup of %s', w.relation) end
$$;

-- The function of a watch with a key. A child without a parent (a null key) concerns nobody.
create function outbox.key_body(w outbox.watches) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
    select format($body$
declare
    k text;
    drawn bigint;
begin
    if tg_op = 'TRUNCATE' or tg_op = 'UPDATE' and (%3$s) is distinct from (%4$s) then
        if tg_op = 'TRUNCATE' then
            perform outbox.append_selected(%1$L,
                %5$L || outbox.truncated_rows(tg_relid, tg_name)%6$s, %7$L, %2$L);
        else
            -- Both keys, the smaller first: two transactions that swap keys do not wait for each other in a circle.
            perform outbox.append(%1$L, changed.k, changed.action, %2$L)
            from (values (%3$s, %8$s), (%4$s, %9$s)) as changed (k, action)%10$s
            order by changed.k collate "C";
        end if;
        return null;
    end if;
    k := case tg_op when 'DELETE' then %3$s else %4$s end;%11$s
    -- As in outbox.emit: the version in a statement of its own, then the event, then the bell.
    insert into outbox.versions as v (topic, key, version, updated_at)
    values (%1$L, k, nextval('outbox.version_seq'), clock_timestamp())
    on conflict on constraint versions_pkey
        do update set version = nextval('outbox.version_seq'), updated_at = clock_timestamp()
    returning v.version into drawn;
    insert into outbox.events (topic, key, version, action, headers)
    values (%1$L, k, drawn, case tg_op when 'DELETE' then %8$s else %9$s end,
            case when current_setting('outbox.traceparent', true) <> ''
                 then jsonb_build_object('traceparent', current_setting('outbox.traceparent', true)) end);
    perform pg_notify('outbox', d.subscription) from outbox.doorbells d
    where case when current_setting('outbox.wake', true) = 'off' then false
               when d.topics is null or %1$L = any (d.topics)
               then not pg_try_advisory_xact_lock_shared(outbox.wake_class(), d.id) end;
    return null;
end
$body$,
        w.topic, outbox.made_of(w), outbox.key_sql(w, 'old'), outbox.key_sql(w, 'new'),
        'select ' || outbox.key_sql(w, 'new') || ' from ',
        case when w.parent is not null then format(' || %L', ' where (' || outbox.key_sql(w, 'new') || ') is not null') end,
        case when w.parent is null then 'DELETE' else 'INDEX' end,
        outbox.action_sql(w, 'old', true), outbox.action_sql(w, 'new', false),
        case when w.parent is not null then ' where changed.k is not null' end,
        case when w.parent is not null then $optional$
    if k is null then
        return null;
    end if;$optional$ else '' end
        -- Columns that are never null and of one length make a key that needs no check.
        || case when exists (select from pg_attribute a
                             where a.attrelid = w.relation and a.attname = any (w.key)
                               and (a.attlen < 0 or w.parent is null and not a.attnotnull))
                then format($checked$
    if (octet_length(k) between 1 and 512) is not true then
        perform outbox.refuse(%L, k, 'INDEX', null, %L);
    end if;$checked$, w.topic, outbox.made_of(w)) else '' end)
$$;

-- The function of a watch with a lookup.
create function outbox.lookup_body(w outbox.watches) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
    select format($body$
#variable_conflict use_column
declare
    outbox_keys text[] := '{}';
begin
    if tg_op = 'TRUNCATE' then
        perform outbox.append_selected(%1$L,
            'select looked.up::text from ' || outbox.truncated_rows(tg_relid, tg_name) || %5$L, 'INDEX', %2$L);
        return null;
    end if;
    if tg_op in ('UPDATE', 'DELETE') then
        outbox_keys := outbox_keys || array(select looked.up::text from (
%3$s
        ) as looked (up));
    end if;
    if tg_op in ('UPDATE', 'INSERT') then
        outbox_keys := outbox_keys || array(select looked.up::text from (
%4$s
        ) as looked (up));
    end if;
    perform outbox.append_many(%1$L, outbox_keys, 'INDEX', %2$L);
    return null;
end
$body$,
        w.topic, outbox.made_of(w), outbox.lookup_sql(w, 'old'), outbox.lookup_sql(w, 'new'),
        E', lateral (\n' || outbox.lookup_sql(w, 'new') || E'\n) as looked (up)')
$$;

-- Watching --------------------------------------------------------------------------------------------------------

create function outbox.unwatch(relation regclass, topic text default null) returns int
language plpgsql set search_path = pg_catalog, pg_temp set client_min_messages = warning as $$
declare
    w outbox.watches;
    removed int := 0;
begin
    for w in
        select * from outbox.watches old
        where old.relation = unwatch.relation and (unwatch.topic is null or old.topic = unwatch.topic)
    loop
        -- The triggers go with their function, from the table and from every leaf.
        execute format('drop function if exists outbox.%I() cascade', w.function);
        delete from outbox.watches old where old.relation = w.relation and old.topic = w.topic;
        removed := removed + 1;
    end loop;
    return removed;
end
$$;

comment on function outbox.unwatch(regclass, text) is
'Removes all that outbox.watch installed on the table for this topic (null: for every topic) and returns how many watches that were. Of a table that was dropped, give the oid in outbox.watches.';

create function outbox.watch(
    relation   regclass,
    topic      text,
    key        text[]   default null,
    columns    text[]   default null,
    ignore     text[]   default '{}',
    parent     regclass default null,
    parent_key text[]   default null,
    lookup     text     default null,
    always     boolean  default false
) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    w outbox.watches;
    hash text := left(encode(sha256(convert_to(topic, 'UTF8')), 'hex'), 8);
    trigger_name text := format('outbox_%s_%s', left(topic, 32), hash);
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
    w.function := format('watch_%s_%s', relation::oid, hash);
    w.watched_at := clock_timestamp();
    perform outbox.check_watch(w);
    perform outbox.unwatch(relation, topic);

    execute format('create function outbox.%I() returns trigger language plpgsql security definer
                    set search_path = pg_catalog, pg_temp as %L', w.function,
                   case when lookup is null then outbox.key_body(w) else outbox.lookup_body(w) end);
    execute format('revoke all on function outbox.%I() from public', w.function);
    execute format('comment on function outbox.%I() is %L', w.function,
                   format('Writes the changes of %s to topic %s. Generated by outbox.watch.', relation, topic));

    execute format('create trigger %I after insert or delete on %s for each row execute function outbox.%I()',
                   trigger_name || '_row', relation, w.function);
    execute format('create trigger %I after update on %s for each row when (%s) execute function outbox.%I()',
                   trigger_name || '_update', relation, outbox.changed_sql(w), w.function);
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

comment on function outbox.watch(regclass, text, text[], text[], text[], regclass, text[], text, boolean) is
'Writes an event to topic for every change of a row of the table; called again, it replaces the watch.
key: the columns of the key, in order (null: the primary key); several are joined as outbox.key does it.
columns: only updates that change one of these count, or one of the key. ignore: updates that change nothing but these do not.
parent, parent_key: key refers to a row of this other table, whose key the events are about; a child without a parent is nobody''s.
lookup: for a row that concerns many keys, one select of them as text, with the row as ($1).column.
always: also where session_replication_role is replica.
Call it as the owner of the table and of the outbox. It takes a lock that waits for open writers of the table. Call it again when a column of the key was renamed, or a leaf was added that may be truncated by itself.
Not seen: detached and dropped leaves. A change of a table watched by lookup does not reach the row that another transaction, open at the same time, is just making refer to it. Reconciliation finds both.';

create function outbox.watch(
    relation   regclass,
    topic      text,
    key        text,
    columns    text[]   default null,
    ignore     text[]   default '{}',
    parent     regclass default null,
    parent_key text[]   default null,
    lookup     text     default null,
    always     boolean  default false
) returns text
language sql set search_path = pg_catalog, pg_temp as $$
    select outbox.watch(relation, topic, case when key is not null then array[key] end, columns, ignore, parent,
                        parent_key, lookup, always)
$$;

comment on function outbox.watch(regclass, text, text, text[], text[], regclass, text[], text, boolean) is
'The same with one column as the key.';

revoke all on all functions in schema outbox from public;

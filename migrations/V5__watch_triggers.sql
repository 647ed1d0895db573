-- What the triggers of a watched table do: the text of their functions.
--
-- Each function here writes a part of it, from a row of outbox.watches that was checked.

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
               format('%s.%I%s::text collate "C"', of_row, a.attname,
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

-- SQL for the headers of an event: the trace that the session was told of.
create function outbox.headers_sql() returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select $sql$case when current_setting('outbox.traceparent', true) <> ''
                     then jsonb_build_object('traceparent', current_setting('outbox.traceparent', true)) end$sql$
$$;

-- SQL for what follows events of a topic, as in outbox.emit.
create function outbox.bell_sql(topic text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select format($sql$
    if outbox.must_ring(%1$L) then
        perform outbox.ring(%1$L);
    end if;
    -- A commit that a crash may take back must not have been published: its version would be given out again.
    if current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'local', true);
    end if;$sql$, topic)
$$;

-- The function of a watch for rows with a key. A child without a parent (a null key) concerns nobody.
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
    if tg_op <> 'INSERT' then
        update outbox.versions v set version = nextval('outbox.version_seq'), updated_at = clock_timestamp()
         where v.topic = %1$L and v.key = k
        returning v.version into drawn;
    end if;
    if drawn is null then
        insert into outbox.versions as v (topic, key, version, updated_at)
        values (%1$L, k, nextval('outbox.version_seq'), clock_timestamp())
        on conflict on constraint versions_pkey
            do update set version = nextval('outbox.version_seq'), updated_at = clock_timestamp()
        returning v.version into drawn;
    end if;
    insert into outbox.events (topic, key, version, action, headers)
    values (%1$L, k, drawn, case tg_op when 'DELETE' then %8$s else %9$s end,
            %12$s);%13$s
    return null;
end
$body$,
        w.topic, outbox.made_of(w), outbox.key_sql(w, 'old'), outbox.key_sql(w, 'new'),
        'select ' || outbox.key_sql(w, 'new') || ' from ',
        case when w.parent is not null then
            format(' || %L', format(' where (%s) is not null', outbox.key_sql(w, 'new'))) end,
        case when w.parent is null then 'DELETE' else 'INDEX' end,
        outbox.action_sql(w, 'old', true), outbox.action_sql(w, 'new', false),
        case when w.parent is not null then ' where changed.k is not null' end,
        case when w.parent is not null then $optional$
    if k is null then
        return null;
    end if;$optional$ else '' end
        -- Numbers and uuids that are never null make a key that needs no check.
        || case when exists (select from pg_attribute a
                             where a.attrelid = w.relation and a.attname = any (w.key)
                               and (a.attlen not in (2, 4, 8, 16) or w.parent is null and not a.attnotnull))
                then format($checked$
    if (octet_length(k) between 1 and 512) is not true then
        perform outbox.refuse(%L, k, 'INDEX', null, %L);
    end if;$checked$, w.topic, outbox.made_of(w)) else '' end,
        outbox.headers_sql(), outbox.bell_sql(w.topic))
$$;

-- SQL that writes events about the keys a query returns, each once. As outbox.append_many does it, ids being drawn behind
-- the lock of each key, but without an array of the keys: a statement may change more rows than fit into one. `joined`
-- follows the keys, as bumped, in the FROM clause, and `action` may ask for both.
create function outbox.write_sql(w outbox.watches, keys text, action text, joined text default '') returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
    select format($sql$
        with bumped as (
            insert into outbox.versions as v (topic, key, version, updated_at)
            select %1$L,
                   case when octet_length(changed.k) between 1 and 512 then changed.k
                        else outbox.refuse(%1$L, changed.k, 'INDEX', null, %2$L) end,
                   nextval('outbox.version_seq'), clock_timestamp()
            from (select written.k from (%3$s) as written (k) order by written.k) as changed
            on conflict on constraint versions_pkey
                do update set version = nextval('outbox.version_seq'), updated_at = clock_timestamp()
            returning v.key, v.version
        )
        insert into outbox.events (topic, key, version, action, headers)
        select %1$L, bumped.key, bumped.version, %4$s, %5$s
        from bumped%6$s;$sql$, w.topic, outbox.made_of(w), keys, action, outbox.headers_sql(), joined)
$$;

-- The function of a watch for statements. Rows of before and after are paired by their key. Of one that a statement and
-- its cascades changed twice there are more than one pair: it counts as changed.
create function outbox.statement_body(w outbox.watches) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
    select format($body$
#variable_conflict use_column
declare
    events bigint;
begin
    if tg_op = 'TRUNCATE' then
        perform outbox.append_selected(%1$L, %2$L || outbox.truncated_rows(tg_relid, tg_name), 'DELETE', %3$L);
        return null;
    elsif tg_op = 'INSERT' then%4$s
    elsif tg_op = 'DELETE' then%5$s
    else%6$s
    end if;
    get diagnostics events = row_count;
    if events = 0 then
        return null;
    end if;%7$s
    return null;
end
$body$,
        w.topic, format('select %s from ', outbox.key_sql(w, 'new')), outbox.made_of(w),
        outbox.write_sql(w, format('select distinct %s from new_rows as new', outbox.key_sql(w, 'new')), '''INDEX'''),
        outbox.write_sql(w, format('select distinct %s from old_rows as old', outbox.key_sql(w, 'old')), '''DELETE'''),
        outbox.write_sql(w,
            -- The offset keeps whole rows out of the grouping.
            format('select pair.k
                from (select coalesce(%2$s, %1$s) as k, %1$s is null or %2$s is null or %3$s as changed
                        from old_rows as old full join new_rows as new on %1$s = %2$s offset 0) as pair
                group by pair.k having count(*) > 1 or bool_or(pair.changed)',
                   outbox.key_sql(w, 'old'), outbox.key_sql(w, 'new'), outbox.changed_sql(w)),
            'case when still.k is not null then ''INDEX'' else ''DELETE'' end',
            format(' left join (select distinct %s from new_rows as new) as still (k) on still.k = bumped.key',
                   outbox.key_sql(w, 'new'))),
        outbox.bell_sql(w.topic))
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

revoke all on all functions in schema outbox from public;

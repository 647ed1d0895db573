-- What outbox.watch refuses.
--
-- These functions take what is to become a row of outbox.watches, and raise what is wrong with it.

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
        raise exception 'outbox.watch: % names %, which is no column of %',
            argument, quote_literal(wrong), relation using
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

-- A trigger for statements sees only those that name its own table, and none of a replication's.
create function outbox.check_each(w outbox.watches) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    if (w.each in ('row', 'statement')) is not true then
        raise exception 'outbox.watch: each is ''row'' or ''statement'', not %', quote_nullable(w.each) using
            errcode = 'invalid_parameter_value';
    elsif w.each = 'row' then
        return;
    elsif w.lookup is not null or w.parent is not null or outbox.unique_index(w.relation, w.key) is null
          or exists (select from pg_attribute a
                      where a.attrelid = w.relation and a.attname = any (w.key) and not a.attnotnull) then
        raise exception 'outbox.watch: each => ''statement'' needs a unique key of % itself, of columns that are '
                        'not null', w.relation using errcode = 'feature_not_supported', hint = 'Leave each out.';
    elsif w.columns is not null then
        -- Rows are paired by their key: one that took another's key may equal it in these columns, and differ in others.
        raise exception 'outbox.watch: each => ''statement'' cannot be given with columns' using
            errcode = 'feature_not_supported', hint = 'Name what does not count, with ignore, or leave each out.';
    elsif w.always then
        raise exception 'outbox.watch: each => ''statement'' cannot be watched always' using
            errcode = 'feature_not_supported', hint = 'A replication applies rows without statements. Leave each out.';
    elsif exists (select from pg_class c where c.oid = w.relation and c.relkind = 'p')
          or exists (select from pg_inherits i where w.relation in (i.inhrelid, i.inhparent)) then
        raise exception 'outbox.watch: each => ''statement'' is not for partitions, nor for tables that have or are '
                        'children, as % has or is', w.relation using
            errcode = 'feature_not_supported', hint = 'Leave each out.';
    end if;
end
$$;

revoke all on all functions in schema outbox from public;

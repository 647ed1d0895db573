-- Routing: the rows of an application's own outbox table, as the outbox event router of Debezium reads them, become events.
--
-- outbox.route generates one trigger function for each table, with the names of the columns written into it.

create table outbox.routes (
    relation      regclass primary key,
    relation_name text not null,
    topic         text not null,
    route_by      text not null,
    event_id      text not null,
    event_key     text not null,
    payload       text not null,
    headers       jsonb not null,
    function      text not null,
    routed_from   pg_lsn not null,
    routed_at     timestamptz not null default pg_catalog.clock_timestamp()
);

comment on table outbox.routes is 'What outbox.route has installed.';
comment on column outbox.routes.relation_name is 'The table''s name when it was routed, for when it is gone.';
comment on column outbox.routes.topic is 'Where its events go: ${routedByValue} stands for what route_by holds.';
comment on column outbox.routes.headers is 'Further headers: the name of a column, and of the header it becomes.';
comment on column outbox.routes.function is 'The trigger function in schema outbox.';
comment on column outbox.routes.routed_from is
'Where the server''s log was: a reader of it that has come this far has all rows that did not become events.';

revoke all on outbox.routes from public;

-- Checks ----------------------------------------------------------------------------------------------------------

-- The type of a column beneath all domains. Refuses a name that is none of a column.
create function outbox.routed_type(relation regclass, argument text, name text) returns regtype
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    type oid;
    similar_name text;
    known text[] := array(
        select a.attname::text from pg_attribute a
        where a.attrelid = relation and a.attnum > 0 and not a.attisdropped order by a.attnum);
begin
    if name is null then
        raise exception 'outbox.route: % is null', argument using
            errcode = 'null_value_not_allowed', hint = 'It is the name of a column.';
    elsif name <> all (known) then
        select c into similar_name from unnest(known) c where lower(c) = lower(name) limit 1;
        raise exception 'outbox.route: % names %, which is no column of %', argument, quote_literal(name), relation using
            errcode = 'undefined_column',
            hint = coalesce('Did you mean ' || quote_literal(similar_name) || '? ', '')
                   || 'Its columns: ' || array_to_string(known, ', ') || '. Name the one with '
                   || split_part(argument, ' ', 1) || ' => ''…''.';
    end if;
    select a.atttypid into type from pg_attribute a where a.attrelid = relation and a.attname = name;
    while exists (select from pg_type t where t.oid = type and t.typtype = 'd') loop
        select t.typbasetype into type from pg_type t where t.oid = type;
    end loop;
    return type::regtype;
end
$$;

-- Refuses a column whose text depends on the settings of the session: the same row would be other messages.
create function outbox.check_routed_text(relation regclass, argument text, name text, also regtype[] default '{}') returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    type regtype := outbox.routed_type(relation, argument, name);
begin
    if type <> all (also)
       and (type in ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype, 'time'::regtype, 'timetz'::regtype,
                     'interval'::regtype, 'float4'::regtype, 'float8'::regtype, 'money'::regtype, 'bytea'::regtype)
            or exists (select from pg_type t where t.oid = type and (t.typtype in ('c', 'm', 'r') or t.typcategory in ('A', 'G')))) then
        raise exception 'outbox.route: % names %, of type %, which cannot be sent as text', argument, quote_literal(name), type using
            errcode = 'feature_not_supported',
            detail = 'How such a value is written depends on the settings of the session.',
            hint = 'Name another column, or add one of type text.';
    end if;
end
$$;

create function outbox.check_route(r outbox.routes) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    class pg_class;
    type regtype;
    header record;
    named text[] := '{}';
begin
    select * into class from pg_class c where c.oid = r.relation;
    if class.oid is null then
        raise exception 'outbox.route: there is no table %', quote_nullable(r.relation::text) using errcode = 'undefined_table';
    elsif class.relkind not in ('r', 'p') then
        raise exception 'outbox.route: % is not a table', r.relation using errcode = 'wrong_object_type';
    elsif class.relpersistence = 't' or class.relnamespace in ('outbox'::regnamespace, 'pg_catalog'::regnamespace) then
        raise exception 'outbox.route: % cannot be routed', r.relation using
            errcode = 'wrong_object_type', hint = 'Neither temporary tables, nor the outbox''s own, nor the system''s.';
    end if;

    if r.topic is null then
        raise exception 'outbox.route: topic is null' using
            errcode = 'null_value_not_allowed', hint = 'For example outbox.event.${routedByValue}.';
    elsif replace(r.topic, '${routedByValue}', 'x') ~ '[^a-zA-Z0-9._-]'
          or octet_length(replace(r.topic, '${routedByValue}', 'x')) not between 1 and 249 then
        raise exception 'outbox.route: topic % makes no names of topics', quote_literal(r.topic) using
            errcode = 'invalid_parameter_value',
            hint = 'It is 1 to 249 of the characters a-z, A-Z, 0-9, ".", "_" and "-", and ${routedByValue}, for which the column '
                   'of route_by is put in.';
    end if;
    if strpos(r.topic, '${routedByValue}') > 0 then
        perform outbox.check_routed_text(r.relation, 'route_by', r.route_by);
    end if;
    perform outbox.check_routed_text(r.relation, 'event_id', r.event_id);
    perform outbox.check_routed_text(r.relation, 'event_key', r.event_key);

    type := outbox.routed_type(r.relation, 'payload', r.payload);
    if type not in ('json'::regtype, 'jsonb'::regtype)
       and not exists (select from pg_type t where t.oid = type and t.typcategory = 'S' and t.oid <> 'bpchar'::regtype) then
        raise exception 'outbox.route: payload names %, of type %; it has to be jsonb, json or text', quote_literal(r.payload), type
            using errcode = 'feature_not_supported',
                  hint = case when type = 'bytea'::regtype
                              then 'Messages are text here. Keep Debezium for binary payloads, as of Avro or Protobuf.'
                              else 'Name another column, or change its type.' end;
    end if;

    if r.headers is null or jsonb_typeof(r.headers) <> 'object'
       or jsonb_path_exists(r.headers, 'strict $.* ? (@.type() != "string")') then
        raise exception 'outbox.route: headers must be a flat JSON object of strings, not %', left(r.headers::text, 200) using
            errcode = 'invalid_parameter_value',
            hint = 'Each column with the name of its header: {"type": "eventType"}.';
    elsif (select count(*) from jsonb_object_keys(r.headers)) > 49 then
        raise exception 'outbox.route: headers names % columns; it can be 49 at most', (select count(*) from jsonb_object_keys(r.headers))
            using errcode = 'too_many_arguments', hint = 'Put some of them into the payload.';
    end if;
    for header in select h.key as column, h.value as name from jsonb_each_text(r.headers) h order by h.key loop
        -- These three are written as Debezium writes them.
        perform outbox.check_routed_text(r.relation, 'headers', header.column,
                                         array['date', 'timestamp', 'timestamptz']::regtype[]);
        if header.name in ('', 'id') then
            raise exception 'outbox.route: headers gives column % the name %', quote_literal(header.column), quote_literal(header.name)
                using errcode = 'invalid_parameter_value',
                      hint = 'A header has a name, and "id" is the row''s: event_id says which column that is.';
        elsif header.name = any (named) then
            raise exception 'outbox.route: headers has the name % twice', quote_literal(header.name) using
                errcode = 'invalid_parameter_value', hint = 'Each column needs a name of its own.';
        end if;
        named := named || header.name;
    end loop;
end
$$;

-- What the trigger does ---------------------------------------------------------------------------------------------

-- SQL for a column of the new row as a header's text. Moments and days as Debezium's connector writes them, by the precision of the
-- column; the function's own settings decide nothing.
create function outbox.routed_header_sql(relation regclass, name text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
    select format(
        case outbox.routed_type(relation, 'headers', name)
            when 'timestamptz'::regtype then
                format($sql$to_char(new.%%I at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS%s"Z"')$sql$,
                       case when a.atttypmod = 0 then '' when a.atttypmod < 0 then '.US' else '.FF' || a.atttypmod end)
            when 'timestamp'::regtype then
                format('case when isfinite(new.%%1$I) then trunc((extract(epoch from new.%%1$I) * %s)::numeric)::text end',
                       case when a.atttypmod between 0 and 3 then 1000 else 1000000 end)
            when 'date'::regtype then $sql$case when isfinite(new.%1$I) then (new.%1$I - date '1970-01-01')::text end$sql$
            else 'new.%I::text' end, name)
      from pg_attribute a where a.attrelid = relation and a.attname = name
$$;

-- Says what is wrong with a row, and is only called when something is. To whoever writes it, who may never have heard of an outbox
-- other than his own.
create function outbox.refuse_row(topic text, key text, made_of outbox.routes) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    row_of text := format('outbox: this row of %s cannot become an event of the route made by outbox.route', made_of.relation_name);
begin
    if topic is null then
        raise exception '%: % is null, and no topic can be made of it', row_of, made_of.route_by using
            errcode = 'null_value_not_allowed';
    elsif topic ~ '[^a-zA-Z0-9._-]' or octet_length(topic) not between 1 and 249 or topic in ('.', '..') then
        raise exception '%: with %, its topic would be %', row_of, made_of.route_by, quote_literal(left(topic, 300)) using
            errcode = 'invalid_parameter_value',
            hint = 'Kafka takes 1 to 249 of the characters a-z, A-Z, 0-9, ".", "_" and "-", but not "." or "..".';
    elsif key is null then
        raise exception '%: % and % are null', row_of, made_of.event_key, made_of.event_id using errcode = 'null_value_not_allowed';
    end if;
    raise exception '%: % has % bytes', row_of, made_of.event_key, octet_length(key) using
        errcode = 'invalid_parameter_value', hint = 'A key has 2,000 at most.';
end
$$;

-- The function of a route. Topic, key and id are each made of columns that may be null; a row without a key has its id for one, and
-- no place in an order.
create function outbox.route_body(r outbox.routes) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
    select format($body$
declare
    event_topic text := %1$s;
    event_id text := new.%2$I::text;
    event_key text := new.%3$I::text;
begin
    if (event_topic !~ '[^a-zA-Z0-9._-]' and octet_length(event_topic) between 1 and 249
        and event_topic not in ('.', '..')
        and octet_length(coalesce(event_key, event_id)) <= 2000) is not true then
        perform outbox.refuse_row(event_topic, coalesce(event_key, event_id), jsonb_populate_record(null::outbox.routes, %4$L));
    end if;
    perform outbox.append_event(event_topic, coalesce(event_key, event_id),
        case when new.%5$I is null then 'DELETE' else 'INDEX' end,
        %6$s, %7$s, jsonb_strip_nulls(jsonb_build_object('id', event_id%8$s)), event_key is not null);
    return null;
end
$body$,
        case when strpos(r.topic, '${routedByValue}') > 0
             then format($sql$replace(%L, '${routedByValue}', new.%I::text)$sql$, r.topic, r.route_by)
             else quote_literal(r.topic) end,
        r.event_id, r.event_key,
        jsonb_build_object('relation_name', r.relation_name, 'route_by', r.route_by, 'event_id', r.event_id,
                           'event_key', r.event_key),
        r.payload,
        case when payload.type = 'jsonb'::regtype then format('new.%I', r.payload) else 'null' end,
        case when payload.type = 'jsonb'::regtype then 'null' else format('new.%I::text', r.payload) end,
        (select string_agg(format(', %L, %s', h.value, outbox.routed_header_sql(r.relation, h.key)), '' order by h.key)
           from jsonb_each_text(r.headers) h))
    from (select outbox.routed_type(r.relation, 'payload', r.payload) as type) as payload
$$;

-- Installing --------------------------------------------------------------------------------------------------------

create or replace function outbox.grant_watcher(role name) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    execute format('grant usage on schema outbox to %I', role);
    execute format('grant select, insert, update on outbox.versions to %I', role);
    execute format('grant insert on outbox.events to %I', role);
    execute format('grant select on outbox.doorbells to %I', role);
    execute format('grant usage on sequence outbox.version_seq, outbox.events_id_seq to %I', role);
    execute format('grant execute on function outbox.append, outbox.append_many, outbox.append_selected, outbox.append_event,
                    outbox.truncated_rows, outbox.refuse, outbox.refuse_row, outbox.must_ring, outbox.ring, outbox.wake_class
                    to %I', role);
end
$$;

comment on function outbox.grant_watcher(name) is
'Lets a role own the functions of watches and routes; outbox.watch and outbox.route do it for whoever calls them. With it, the role '
'can write any event.';

create function outbox.unroute(relation regclass) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set client_min_messages = warning as $$
declare
    r outbox.routes;
begin
    select * into r from outbox.routes old where old.relation = unroute.relation;
    if not found then
        return false;
    end if;
    -- The triggers go with their function, from the table and from every leaf.
    execute format('drop function if exists outbox.%I() cascade', r.function);
    delete from outbox.routes old where old.relation = r.relation;
    return true;
end
$$;

comment on function outbox.unroute(regclass) is
'Removes what outbox.route installed on the table; says whether that was anything. What became an event before is published all the '
'same. Of a table that was dropped, give the oid in outbox.routes.';

create function outbox.route(
    relation  regclass,
    topic     text  default 'outbox.event.${routedByValue}',
    route_by  text  default 'aggregatetype',
    event_id  text  default 'id',
    event_key text  default 'aggregateid',
    payload   text  default 'payload',
    headers   jsonb default '{}'
) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    r outbox.routes;
begin
    r.relation := relation;
    r.relation_name := relation::text;
    r.topic := topic;
    r.route_by := route_by;
    r.event_id := event_id;
    r.event_key := event_key;
    r.payload := payload;
    r.headers := headers;
    r.function := format('route_%s', relation::oid);
    r.routed_at := clock_timestamp();
    perform outbox.check_route(r);
    perform outbox.unroute(relation);

    execute format('create function outbox.%I() returns trigger language plpgsql security definer
                    set search_path = pg_catalog, pg_temp as %L', r.function, outbox.route_body(r));
    execute format('revoke all on function outbox.%I() from public', r.function);
    execute format('comment on function outbox.%I() is %L', r.function,
                   format('Makes events of the rows that are inserted into %s. Generated by outbox.route.', relation));
    if current_user <> (select pg_get_userbyid(c.relowner) from pg_class c where c.oid = 'outbox.events'::regclass) then
        perform outbox.grant_watcher(current_user);
    end if;
    execute format('create trigger outbox_route after insert on %s for each row execute function outbox.%I()', relation, r.function);
    -- Whoever had written before has committed by now: the trigger waited for them.
    r.routed_from := pg_current_wal_insert_lsn();

    insert into outbox.routes select (r).*;
    return 'outbox.' || r.function;
end
$$;

comment on function outbox.route(regclass, text, text, text, text, text, jsonb) is
'Makes an event of every row that is inserted from now on into a table as Debezium''s outbox event router reads it, in the same '
'transaction, even if the row is deleted again; called again, it replaces the route. Updates and deletes are no events.
topic: where they go; ${routedByValue} stands for what the column route_by holds.
event_id: the column of the header id. event_key: the column of the key; rows of one key are published in the order of their '
'commits, and wait for each other until then; a row without a key has its id for one.
payload: the column of the value, jsonb, json or text; all but a jsonb are sent as they are, byte for byte.
headers: further columns, each with the name of its header: {"type": "eventType"}.
Call it as the owner of the table (the privilege trigger on it will do) who is the owner of the outbox or a member of it. The '
'trigger runs with the rights of whoever called, and goes on when that is no member any more; writers of the table need nothing. '
'It takes a lock that waits for open writers of the table: what they wrote is no event, what is written after it is.
Call it again when a column it names was renamed. Not seen: what is written where session_replication_role is replica.';

revoke all on function outbox.routed_type(regclass, text, text), outbox.check_routed_text(regclass, text, text, regtype[]),
    outbox.check_route(outbox.routes), outbox.routed_header_sql(regclass, text), outbox.refuse_row(text, text, outbox.routes),
    outbox.route_body(outbox.routes), outbox.unroute(regclass),
    outbox.route(regclass, text, text, text, text, text, jsonb) from public;

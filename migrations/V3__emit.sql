-- Writing to the outbox inside one's own transaction.

create function outbox.wake_class() returns int
language sql immutable parallel safe as 'select 1869968482';

comment on function outbox.wake_class() is
'First half of this engine''s advisory locks (the letters ''outb''). Second half: a subscription''s id while its '
'relay sleeps, 0 for outbox.maintain, -1 for migrations, -2 for a change of outbox.must_ring.';

create function outbox.key(variadic parts text[]) returns text
language sql immutable parallel safe as $$
    select case
        when pg_catalog.array_position(parts, null) is not null then null
        when pg_catalog.cardinality(parts) OPERATOR(pg_catalog.=) 1 then parts[pg_catalog.array_lower(parts, 1)]
        else (
            select pg_catalog.string_agg(
                pg_catalog.replace(pg_catalog.replace(part, '\', '\\'), ':', '\:'), ':' order by place)
            from pg_catalog.unnest(parts) with ordinality as p (part, place)
        )
    end
$$;

comment on function outbox.key(text[]) is
'Makes one key of several values: outbox.key(tenant::text, id::text). They are joined by '':'', with '':'' and '
'''\'' inside a value escaped by ''\''; one value is the key itself; null if any is null, and emit refuses a null '
'key.';

-- Waking ----------------------------------------------------------------------------------------------------------

-- Whether a relay that wants this topic is asleep, and this transaction has not rung yet. One expression that names
-- every subscription, made anew whenever one of them comes, goes or wants other topics: asking outbox.doorbells cost a
-- writer twice as much.
create function outbox.must_ring(topic text) returns boolean language sql volatile as 'select false';

create function outbox.rewire_bells() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    asleep text;
begin
    -- One after the other, and each sees the bells of those before it.
    perform pg_advisory_xact_lock(outbox.wake_class(), -2);
    select string_agg(format(
               '%snot pg_catalog.pg_try_advisory_xact_lock_shared(%s, %s)',
               case when d.topics is not null then format('$1 operator(pg_catalog.=) any (%L::text[]) and ', d.topics) end,
               outbox.wake_class(), d.id), ' or ' order by d.id)
      into asleep from outbox.doorbells d;
    execute format(
        'create or replace function outbox.must_ring(topic text) returns boolean language sql volatile as %L',
        format('select case when pg_catalog.current_setting(''outbox.wake'', true) operator(pg_catalog.=) ''off'' '
               'then false else (%s) and ($1 operator(pg_catalog.=) any (pg_catalog.string_to_array('
               'pg_catalog.current_setting(''outbox.rung'', true), '' ''))) is not true end',
               coalesce(asleep, 'false')));
    return null;
end
$$;

create trigger rewire_bells after insert or update or delete on outbox.doorbells
    for each statement execute function outbox.rewire_bells();

-- NOTIFY takes a lock of the whole cluster at commit, so it is sent only to relays that sleep: these hold their lock
-- exclusively. A writer that does get a relay's lock keeps it until after its commit: that relay cannot fall asleep
-- before seeing the event. Once a transaction and topic, because the bell is heard at the commit; outbox.rung, which
-- says so, is forgotten with the transaction, or with the savepoint that takes the bell back, too.
create function outbox.ring(topic text) returns void
language sql volatile set search_path = pg_catalog, pg_temp as $$
    select pg_notify('outbox', d.subscription) from outbox.doorbells d
     where case when d.topics is null or ring.topic = any (d.topics)
                then not pg_try_advisory_xact_lock_shared(outbox.wake_class(), d.id) end;
    select set_config('outbox.rung', concat_ws(' ', nullif(current_setting('outbox.rung', true), ''), topic), true);
$$;

-- Refusals --------------------------------------------------------------------------------------------------------

-- Says which of these is wrong with an event, and is only called when one of them is. It returns text, although it
-- never returns, to stand where a key is expected.
create function outbox.refuse(topic text, key text, action text, headers jsonb, made_of text default null) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    origin text := coalesce(' (' || made_of || ')', '');
begin
    if topic is null then
        raise exception 'outbox: the topic is null' using errcode = 'null_value_not_allowed';
    elsif topic ~ '[^a-zA-Z0-9._-]' or octet_length(topic) not between 1 and 249 or topic in ('.', '..') then
        raise exception 'outbox: % is not a topic name', quote_literal(topic) using
            errcode = 'invalid_parameter_value',
            hint = 'Kafka takes 1 to 249 of the characters a-z, A-Z, 0-9, ".", "_" and "-", but not "." or "..".';
    elsif key is null then
        raise exception 'outbox: the key for topic "%" is null%', topic, origin using
            errcode = 'null_value_not_allowed',
            hint = 'Every part of a key must have a value.';
    elsif key = '' then
        raise exception 'outbox: the key for topic "%" is empty%', topic, origin using
            errcode = 'invalid_parameter_value';
    elsif octet_length(key) > 512 then
        raise exception 'outbox: the key for topic "%" has % bytes%', topic, octet_length(key), origin using
            errcode = 'invalid_parameter_value',
            hint = 'The limit is 512 bytes: the key becomes a document id, and Elasticsearch takes no longer one.';
    elsif action is null or action not in ('INDEX', 'DELETE') then
        raise exception 'outbox: unknown action %', quote_nullable(action) using
            errcode = 'invalid_parameter_value', hint = 'It is ''INDEX'' or ''DELETE''.';
    end if;
    raise exception 'outbox: headers must be a flat JSON object of strings, not %', left(headers::text, 200) using
        errcode = 'invalid_parameter_value', hint = 'For example {"tenant": "7"}.';
end
$$;

-- Emitting --------------------------------------------------------------------------------------------------------

-- The search path is fixed for safety and for speed: without it, an application that changes its own in every
-- transaction would have every statement in here planned anew.
create function outbox.emit(
    topic text, key text, action text default 'INDEX', payload jsonb default null, headers jsonb default null
) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    drawn bigint;
begin
    -- One expression, because each is set up anew in every transaction. Not '^[…]{1,249}$', because counting makes a
    -- regular expression twenty times as slow. Strict, because a lax path looks into arrays.
    if (emit.topic !~ '[^a-zA-Z0-9._-]' and octet_length(emit.topic) between 1 and 249
        and emit.topic not in ('.', '..')
        and octet_length(emit.key) between 1 and 512
        and emit.action in ('INDEX', 'DELETE')
        and (emit.headers is null
             or jsonb_typeof(emit.headers) = 'object'
                and not jsonb_path_exists(emit.headers, 'strict $.* ? (@.type() != "string")'))) is not true then
        perform outbox.refuse(emit.topic, emit.key, emit.action, emit.headers);
    end if;

    -- A statement of its own, before the event: the version is drawn under the row lock, and so is then the event's
    -- id, which makes both grow in the order in which the transactions of this key commit. Whoever waited for the row
    -- draws anew. An update alone is cheaper than an insert that finds a conflict, and nearly every key is known.
    update outbox.versions v set version = nextval('outbox.version_seq'), updated_at = clock_timestamp()
     where v.topic = emit.topic and v.key = emit.key
    returning v.version into drawn;
    if drawn is null then
        insert into outbox.versions as v (topic, key, version, updated_at)
        values (emit.topic, emit.key, nextval('outbox.version_seq'), clock_timestamp())
        on conflict on constraint versions_pkey
            do update set version = nextval('outbox.version_seq'), updated_at = clock_timestamp()
        returning v.version into drawn;
    end if;

    insert into outbox.events (topic, key, version, action, payload, headers)
    values (emit.topic, emit.key, drawn, emit.action, emit.payload,
            case when current_setting('outbox.traceparent', true) <> ''
                      and (emit.headers ? 'traceparent') is not true
                 then jsonb_build_object('traceparent', current_setting('outbox.traceparent', true))
                      || coalesce(emit.headers, '{}')
                 else emit.headers end);

    if outbox.must_ring(emit.topic) then
        perform outbox.ring(emit.topic);
    end if;
    -- A commit that a crash may take back must not have been published: its version would be given out again.
    if current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'local', true);
    end if;
    return drawn;
end
$$;

comment on function outbox.emit(text, text, text, jsonb, jsonb) is
'Writes one event in the caller''s transaction and returns its version. action: INDEX or DELETE. payload: the '
'message''s value instead of the standard one. headers: a flat object of strings. Call it from a select that is '
'executed, never from a CTE nothing reads. It can fail with 40001 or 40P01, as any row lock can. Before PREPARE '
'TRANSACTION: set local outbox.wake = off. A trace: set outbox.traceparent. A transaction with synchronous_commit = '
'off is raised to local.';

-- Events of many keys, once each and in the order of the keys: two of these never wait for each other in a circle.
create function outbox.append_many(topic text, keys text[], action text, made_of text default null) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    written bigint;
begin
    with bumped as (
        insert into outbox.versions as v (topic, key, version, updated_at)
        select append_many.topic,
               case when octet_length(changed.k) between 1 and 512 then changed.k
                    else outbox.refuse(append_many.topic, changed.k, append_many.action, null, append_many.made_of) end,
               nextval('outbox.version_seq'), clock_timestamp()
        from (select distinct given.k collate "C" as k from unnest(append_many.keys) as given (k) order by 1) as changed
        on conflict on constraint versions_pkey
            do update set version = nextval('outbox.version_seq'), updated_at = clock_timestamp()
        returning v.key, v.version
    )
    -- Row by row: an event's id is drawn when its bumped row arrives here, after that row's lock was taken.
    insert into outbox.events (topic, key, version, action, headers)
    select append_many.topic, bumped.key, bumped.version, append_many.action,
           case when current_setting('outbox.traceparent', true) <> ''
                then jsonb_build_object('traceparent', current_setting('outbox.traceparent', true)) end
    from bumped;
    get diagnostics written = row_count;

    if written > 0 and outbox.must_ring(append_many.topic) then
        perform outbox.ring(append_many.topic);
    end if;
    -- A commit that a crash may take back must not have been published: its version would be given out again.
    if current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'local', true);
    end if;
    return written;
end
$$;

create function outbox.emit_many(topic text, keys text[], action text default 'INDEX') returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if (emit_many.topic !~ '[^a-zA-Z0-9._-]' and octet_length(emit_many.topic) between 1 and 249
        and emit_many.topic not in ('.', '..')
        and emit_many.action in ('INDEX', 'DELETE')) is not true then
        perform outbox.refuse(emit_many.topic, '-', emit_many.action, null);
    end if;
    return outbox.append_many(emit_many.topic, emit_many.keys, emit_many.action);
end
$$;

comment on function outbox.emit_many(text, text[], text) is
'Writes one event for each distinct key, in the order of the keys, and returns how many.';

-- What triggers do in their rarer cases: one event, or those of all keys a query returns. Batches, because a TRUNCATE
-- may concern more keys than fit into memory.
create function outbox.append(topic text, key text, action text, made_of text) returns void
language sql set search_path = pg_catalog, pg_temp as $$
    select outbox.append_many(append.topic, array[append.key], append.action, append.made_of)
$$;

create function outbox.append_selected(topic text, query text, action text, made_of text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    batch text[];
begin
    for batch in execute format(
        'select array_agg(k order by k)
           from (select k, (row_number() over (order by k) - 1) / 10000 as n
                   from (select distinct selected.k collate "C" as k from (%s) as selected (k)) as once) as numbered
          group by n order by n', query)
    loop
        perform outbox.append_many(append_selected.topic, batch, append_selected.action, append_selected.made_of);
    end loop;
end
$$;

-- Permission ------------------------------------------------------------------------------------------------------

create function outbox.grant_writer(role name) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    execute format('grant usage on schema outbox to %I', role);
    execute format('grant execute on function outbox.emit(text, text, text, jsonb, jsonb),
                    outbox.emit_many(text, text[], text), outbox.key(text[]) to %I', role);
end
$$;

comment on function outbox.grant_writer(name) is
'Lets a role call outbox.emit, outbox.emit_many and outbox.key, and nothing else. For watched tables no role needs '
'anything.';

revoke all on all functions in schema outbox from public;

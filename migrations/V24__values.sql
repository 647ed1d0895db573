-- Values that travel as they are.

-- PostgreSQL writes a jsonb anew: blanks, the order of names, numbers and names that come twice are not as they were given. What is
-- sent byte for byte is kept as text beside it, and need be no JSON. Nullable and without a default, so no leaf is written anew.
alter table outbox.events add column value text;

comment on column outbox.events.value is
'The value of the message, as it is, instead of payload: of a routed row whose payload is no jsonb.';
comment on column outbox.events.payload is
'The value of the message instead of the standard one, unless value has it.';

-- What outbox.emit does, for this schema's own functions: they have checked what they give, and may give a value. Without an order,
-- nothing is locked and nothing remembered of the key: it is no other event's. outbox.emit does not call it: a call more in every
-- emit costs its writer a fifth.
create function outbox.append_event(
    topic text, key text, action text, payload jsonb, value text, headers jsonb, ordered boolean default true
) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    drawn bigint;
begin
    -- As in outbox.emit: the version in a statement of its own, then the event, then the bell.
    if append_event.ordered then
        update outbox.versions v set version = nextval('outbox.version_seq'), updated_at = clock_timestamp()
         where v.topic = append_event.topic and v.key = append_event.key
        returning v.version into drawn;
        if drawn is null then
            insert into outbox.versions as v (topic, key, version, updated_at)
            values (append_event.topic, append_event.key, nextval('outbox.version_seq'), clock_timestamp())
            on conflict on constraint versions_pkey
                do update set version = nextval('outbox.version_seq'), updated_at = clock_timestamp()
            returning v.version into drawn;
        end if;
    else
        drawn := nextval('outbox.version_seq');
    end if;

    insert into outbox.events (topic, key, version, action, payload, value, headers)
    values (append_event.topic, append_event.key, drawn, append_event.action, append_event.payload, append_event.value,
            -- A trace among the headers wins over the session's.
            case when current_setting('outbox.traceparent', true) <> ''
                 then jsonb_build_object('traceparent', current_setting('outbox.traceparent', true))
                      || coalesce(append_event.headers, '{}')
                 else append_event.headers end);

    if outbox.must_ring(append_event.topic) then
        perform outbox.ring(append_event.topic);
    end if;
    -- A commit that a crash may take back must not have been published: its version would be given out again.
    if current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'local', true);
    end if;
    return drawn;
end
$$;

create function outbox.emit_again(event bigint) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    old outbox.events;
begin
    select * into old from outbox.events e where e.id = event;
    if not found then
        return null;
    end if;
    return outbox.append_event(old.topic, old.key, old.action, old.payload, old.value, old.headers);
end
$$;

comment on function outbox.emit_again(bigint) is
'Writes an event of the outbox anew, with all it carries, and returns its version; null when it is no longer there. For the dead '
'letter of an event that was never published.';

revoke all on function outbox.append_event(text, text, text, jsonb, text, jsonb, boolean), outbox.emit_again(bigint) from public;

-- Versions above what an index holds: for documents whose version no change of their row would outdo.

create function outbox.raise_versions(topic text, keys text[], above bigint) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    -- An index compares epoch and version as one number.
    above_epoch constant bigint := above >> 48;
    above_version constant bigint := above & ((1::bigint << 48) - 1);
    present int;
    drawn bigint;
    is_far boolean;
    written bigint;
begin
    if (above >= 0) is not true then
        raise exception 'outbox.raise_versions: % is no version', above using errcode = 'invalid_parameter_value';
    end if;
    -- One after the other, so that each draws for itself only what it needs.
    perform pg_advisory_xact_lock(outbox.wake_class(), -3);
    select coalesce(max(h.epoch), 0) into present from outbox.history h;
    -- Near ones are drawn, as all versions are. The sequence is never set: somebody who draws at the same moment may have
    -- come further, and would be set back.
    if above_epoch = present then
        drawn := nextval('outbox.version_seq');
        while drawn < above_version and above_version - drawn <= 100000 loop
            drawn := nextval('outbox.version_seq');
        end loop;
    end if;
    is_far := above_epoch > present or (above_epoch = present and drawn < above_version);
    -- Epochs are finite. One absurd version in an index must not use most of them up.
    if is_far and above_epoch > 16383 then
        raise exception 'outbox.raise_versions: version % (epoch %) is so high that outdoing it would leave too few epochs',
            above, above_epoch using
            errcode = 'numeric_value_out_of_range',
            hint = 'Delete that document from the index by hand, with that version plus one, or index anew.';
    end if;
    -- Before anything else is locked: it waits for whoever has one of these keys in an open transaction.
    written := outbox.append_many(topic, keys, 'INDEX', 'outbox.raise_versions');
    if is_far then
        perform outbox.raise_epoch(above_epoch::int + 1);
        -- As in outbox.agree_history: a relay at work takes the new epoch up when it finds its term over.
        update outbox.subscriptions set lease_term = lease_term + 1;
    end if;
    return written;
end
$$;

comment on function outbox.raise_versions(text, text[], bigint) is
'Gives each of these keys a version that an index compares as higher than this one (epoch and version as one number), '
'and writes an event for each, in the order of the keys; returns how many. All versions given out later are higher still. '
'Where that takes a later epoch, it begins.';

revoke all on function outbox.raise_versions(text, text[], bigint) from public;

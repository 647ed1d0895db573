-- Emptying what every subscription has passed and nobody wants repeated any more.

create function outbox.not_passed_by(leaf regclass) returns text[]
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    newest xid8;
begin
    if not exists (select from pg_inherits i
                    where i.inhrelid = leaf and i.inhparent = 'outbox.events'::regclass) then
        raise exception 'outbox.not_passed_by: % is no leaf of outbox.events', leaf using
            errcode = 'invalid_parameter_value';
    end if;
    execute format('select e.xid from %s e order by e.xid desc limit 1', leaf) into newest;
    if newest is null then
        return null;
    end if;
    -- What began before the oldest transaction a snapshot did not see the end of, it has seen.
    return array(select s.name::text from outbox.subscriptions s
                  where newest >= pg_snapshot_xmin(s.lo::pg_snapshot) order by s.name);
end
$$;

comment on function outbox.not_passed_by(regclass) is
'The subscriptions that may have yet to publish events of this leaf; null when it has none.';

create function outbox.retained(out leaf text, out day date, out bytes bigint, out not_passed_by text[])
returns setof record
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    for leaf, bytes in
        select c.relname, pg_total_relation_size(c.oid) from pg_inherits i join pg_class c on c.oid = i.inhrelid
         where i.inhparent = 'outbox.events'::regclass order by c.relname
    loop
        not_passed_by := outbox.not_passed_by(format('outbox.%I', leaf)::regclass);
        day := case when leaf ~ '^events_\d{8}$' then to_date(right(leaf, 8), 'YYYYMMDD') end;
        continue when not_passed_by is null;
        return next;
    end loop;
end
$$;

comment on function outbox.retained() is
'The leaves of outbox.events that hold events: the day (UTC; null of the default leaf), the bytes, indexes included, and '
'the subscriptions that may have yet to publish some of them.';

create function outbox.empty_leaf(keep interval) returns text
language plpgsql set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
-- A reader may be in the leaf for as long as a large window takes.
set lock_timeout = '500ms'
as $$
declare
    leaf record;
    holders text[];
begin
    if (keep >= interval '0') is not true then
        raise exception 'outbox.empty_leaf: keep is how old events get at least, as in interval ''7 days''' using
            errcode = 'invalid_parameter_value';
    end if;
    -- Before anybody has subscribed, everything is still wanted.
    if not exists (select from outbox.subscriptions)
       or not pg_try_advisory_xact_lock(outbox.wake_class(), -4) then
        return null;
    end if;
    for leaf in
        select c.relname as name, format('outbox.%I', c.relname)::regclass as relation,
               case when c.relname ~ '^events_\d{8}$' then to_date(right(c.relname, 8), 'YYYYMMDD') end as day
          from pg_inherits i join pg_class c on c.oid = i.inhrelid
         where i.inhparent = 'outbox.events'::regclass order by c.relname
    loop
        continue when leaf.day + interval '1 day' > clock_timestamp() - keep;
        if leaf.day is null then
            continue when leaf.name <> 'events_default'
                or exists (select from outbox.events_default e where e.created_at > clock_timestamp() - keep);
        end if;
        holders := outbox.not_passed_by(leaf.relation);
        continue when cardinality(holders) > 0 or holders is null and leaf.day is null;
        begin
            if holders is null then
                -- For this one every writer would wait, so it is done only when nobody has to.
                lock table only outbox.events in access exclusive mode nowait;
            end if;
            -- Nobody writes to a day that is over but a transaction that was open then, and whoever writes to another one
            -- does not wait. What such a transaction committed until the lock was granted is seen only now.
            execute format('lock table %s in access exclusive mode', leaf.relation);
            if outbox.not_passed_by(leaf.relation) is not distinct from holders
               and (leaf.day is not null
                    or not exists (select from outbox.events_default e where e.created_at > clock_timestamp() - keep))
            then
                execute format(case when holders is null then 'drop table %s' else 'truncate %s' end, leaf.relation);
                return leaf.name;
            end if;
        exception when lock_not_available then
            null;
        end;
    end loop;
    return null;
end
$$;

comment on function outbox.empty_leaf(interval) is
'Empties the oldest leaf whose day ended so long ago and whose events every subscription has passed, or removes one that '
'was emptied; returns its name, null when there is none for now. The owner of the outbox calls it, each time in a '
'transaction of its own, until it returns null. Open writers do not wait for it, nor it for them; of a leaf somebody '
'reads it gives up after half a second.';

create function outbox.forget_subscription(name text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    delete from outbox.subscriptions s
     where s.name = forget_subscription.name and coalesce(s.lease_until < clock_timestamp(), true);
    if found then
        delete from outbox.windows w where w.subscription = forget_subscription.name;
        return true;
    end if;
    if exists (select from outbox.subscriptions s where s.name = forget_subscription.name) then
        raise exception 'outbox.forget_subscription: a relay of "%" is at work', forget_subscription.name using
            errcode = 'object_in_use', hint = 'Stop it first.';
    end if;
    return false;
end
$$;

comment on function outbox.forget_subscription(text) is
'Takes a subscription nobody runs any more away, so that it no longer holds back outbox.empty_leaf. Returns whether there '
'was one. A relay of that name would begin anew, with all events that are retained.';

revoke all on function outbox.not_passed_by(regclass), outbox.retained(), outbox.empty_leaf(interval),
    outbox.forget_subscription(text) from public;

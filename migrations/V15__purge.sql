-- Versions of keys that were deleted long ago. What they were good for is kept in one row a topic: a key without a version,
-- and without a row, was deleted at that version at the latest.

create table outbox.purged (
    topic   text collate "C" primary key,
    version bigint not null
);

comment on table outbox.purged is
'The highest version outbox.purge_versions took away, by topic. Whatever was written about one of its keys is older than or '
'as old as that, and a key that comes back gets a higher one.';

create function outbox.purge_versions(keep interval, at_most int default 100000) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp
set timezone = 'UTC' as $$
#variable_conflict use_column
declare
    old record;
    gone bigint;
    purged bigint := 0;
begin
    if (keep >= interval '0' and at_most > 0) is not true then
        raise exception 'outbox.purge_versions: keep is how old deletions get at least, as in interval ''7 days'', and at_most '
                        'how many versions go at once' using errcode = 'invalid_parameter_value';
    end if;
    -- Before anybody has subscribed, everything is still wanted.
    if not exists (select from outbox.subscriptions) then
        return 0;
    end if;
    for old in
        select r.leaf from outbox.retained() r
         where r.day + interval '1 day' <= clock_timestamp() - keep and cardinality(r.not_passed_by) = 0
         order by r.day
    loop
        exit when purged >= at_most;
        -- Where the deletion is the last that was said of a key. Who writes about it just now is not waited for: it lives.
        execute format($sql$
            with chosen as (
                select v.topic, v.key
                  from outbox.%I e
                  join outbox.versions v on v.topic = e.topic and v.key = e.key and v.version = e.version
                 where e.action = 'DELETE'
                 limit $1
                   for update of v skip locked),
            gone as (
                delete from outbox.versions v using chosen c
                 where v.topic = c.topic and v.key = c.key
                returning v.topic, v.version),
            noted as (
                insert into outbox.purged as p (topic, version)
                select g.topic, max(g.version) from gone g group by g.topic
                on conflict (topic) do update set version = greatest(p.version, excluded.version))
            select count(*) from gone
            $sql$, old.leaf) into gone using at_most - purged;
        purged := purged + gone;
    end loop;
    return purged;
end
$$;

comment on function outbox.purge_versions(interval, int) is
'Takes the versions of keys away that were deleted so long ago, whose deletion every subscription has passed, and about '
'which nothing was said since; returns how many. To be called before outbox.empty_leaf, which takes the events away that say '
'so. The owner of the outbox calls it.';

revoke all on outbox.purged from public;
revoke all on function outbox.purge_versions(interval, int) from public;

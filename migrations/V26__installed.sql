-- What became of the watches and routes that were installed.
--
-- A trigger that somebody switched off, or that a restore left out, fails nobody: rows change, and no event is written.

-- All that inherits from a table, its partitions' partitions too. Not by pg_partition_tree, which waits for whoever has locked one.
create function outbox.heirs(relation regclass) returns table (heir oid)
language sql stable set search_path = pg_catalog, pg_temp as $$
    with recursive heirs (heir) as (
        select i.inhrelid from pg_inherits i where i.inhparent = relation
        union
        select i.inhrelid from heirs join pg_inherits i on i.inhparent = heirs.heir)
    select heirs.heir from heirs
$$;

-- Which writes to a table, or to a leaf of one, no trigger of a function sees, and why; null when all that are wanted are seen.
-- Wanted are bits of pg_trigger.tgtype: 4 for inserts, 8 for deletes, 16 for updates, 32 for truncates.
create function outbox.unseen(place oid, function oid, wanted int, always boolean) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
    select format('%s of %s are not seen: %s',
                  (select string_agg(bits.name, ', ' order by bits.bit)
                     from (values (4, 'inserts'), (8, 'deletes'), (16, 'updates'), (32, 'truncates')) as bits (bit, name)
                    where bits.bit & wanted & ~seen.bits <> 0),
                  place::regclass,
                  coalesce(seen.off || case when always then ' is not enabled always' else ' is disabled' end,
                           'the trigger for them is gone'))
    from (select coalesce(bit_or(t.tgtype::int) filter (where t.tgenabled = any (enabled.states)), 0) as bits,
                 'trigger ' || string_agg(quote_ident(t.tgname), ', ' order by t.tgname)
                               filter (where t.tgenabled <> all (enabled.states)) as off
            from (select case when always then '{A}' else '{A,O}' end::"char"[] as states) as enabled
            left join pg_trigger t on t.tgrelid = place and t.tgfoid = function
         ) as seen
    where wanted & ~seen.bits <> 0
$$;

-- The same of a table and all its leaves. Of these, those that are truncated by themselves may have a trigger for that.
create function outbox.unseen_of(relation regclass, function text, wanted int, always boolean) returns text[]
language sql stable set search_path = pg_catalog, pg_temp as $$
    select array(
        select unseen.fault
        from to_regprocedure(format('outbox.%I()', function)) as made (of)
        cross join lateral (
            select relation::oid, wanted
            union all
            select c.oid, wanted & (28 | coalesce((select bit_or(t.tgtype::int & 32) from pg_trigger t
                                                    where t.tgrelid = c.oid and t.tgfoid = made.of), 0))
              from outbox.heirs(relation) h join pg_class c on c.oid = h.heir
             where c.relispartition and c.relkind <> 'p') as place (of, events)
        cross join outbox.unseen(place.of, made.of, place.events, always) as unseen (fault)
        where unseen.fault is not null
        order by place.of <> relation, place.of::regclass::text collate "C")
$$;

-- The relation of that name, as regclass writes it. Not by to_regclass, which refuses who may not use the schema.
create function outbox.named(name text) returns oid
language sql stable set search_path = pg_catalog, pg_temp as $$
    select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace where format('%I.%I', n.nspname, c.relname) = name
$$;

-- That another table took the name this one had when it was installed on: whoever writes to that name writes elsewhere now. Not where
-- `known` has that one, too.
create function outbox.replaced(relation regclass, relation_name text, known regclass[]) returns setof text
language sql stable set search_path = pg_catalog, pg_temp as $$
    select format('another table is %s now, and this one is %s', relation_name, relation)
      from outbox.named(relation_name) as taken (by)
     where taken.by <> relation and taken.by <> all (known::oid[])
$$;

create function outbox.watch_faults(w outbox.watches) returns text[]
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    faults text[];
    watched regclass[] := array(select o.relation from outbox.watches o where o.topic = w.topic);
begin
    if not exists (select from pg_class c where c.oid = w.relation) then
        return array[format('the table is gone; outbox.unwatch(%s, %L) takes the watch away', w.relation::oid, w.topic)];
    end if;
    faults := outbox.unseen_of(w.relation, w.function, 60, w.always)
           || array(select outbox.replaced(w.relation, w.relation_name, watched));
    if w.parent is not null and not exists (select from pg_class c where c.oid = w.parent) then
        faults := faults || 'its parent is gone'::text;
        w.parent_key := null;
    elsif exists (select from pg_proc p
                   where p.oid = to_regprocedure(format('outbox.%I()', w.function))
                     and strpos(p.prosrc, w.parent::text || ' as parent') = 0) then
        faults := faults || format('its parent has another name than when it was watched, %s', w.parent);
    end if;
    begin
        perform outbox.check_columns(w.relation, 'key', w.key);
        perform outbox.check_columns(w.relation, 'ignore', w.ignore);
        perform outbox.check_columns(w.parent, 'parent_key', w.parent_key);
    exception when undefined_column then
        faults := faults || sqlerrm;
    end;
    faults := faults || array(
        select format('rows of its child %s are not seen: it has to be watched, too', c.oid::regclass)
          from outbox.heirs(w.relation) h join pg_class c on c.oid = h.heir
         where not c.relispartition and c.oid <> all (watched::oid[])
         order by c.oid::regclass::text collate "C");
    -- A table above others fires its own triggers.
    if w.each = 'statement' and exists (select from pg_inherits i where i.inhrelid = w.relation) then
        faults := faults || format('what is written through the table above %s is not seen: it was watched for each statement before '
                                   'it became a partition or a child', w.relation);
    end if;
    return faults;
end
$$;

create function outbox.route_faults(r outbox.routes) returns text[]
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    faults text[];
    installed text;
begin
    if not exists (select from pg_class c where c.oid = r.relation) then
        return array[format('the table is gone; outbox.unroute(%s) takes the route away', r.relation::oid)];
    end if;
    faults := outbox.unseen_of(r.relation, r.function, 4, false)
           || array(select outbox.replaced(r.relation, r.relation_name, array(select o.relation from outbox.routes o)));
    begin
        perform outbox.check_route(r);
    exception when others then
        return faults || sqlerrm;
    end;
    select p.prosrc into installed from pg_proc p where p.oid = to_regprocedure(format('outbox.%I()', r.function));
    -- The columns' types are written into the function; in which order, is up to the database's collation.
    if array(select part from regexp_split_to_table(installed, ', |\)') part order by part collate "C")
       <> array(select part from regexp_split_to_table(outbox.route_body(r), ', |\)') part order by part collate "C") then
        faults := faults || format('a column of %s has another type than when it was routed', r.relation);
    end if;
    return faults;
end
$$;

create function outbox.installed() returns table (kind text, relation_name text, topic text, faults text[])
language sql stable security definer set search_path = pg_catalog, pg_temp set jit = off as $$
    select made.* from (
        select 'watch', coalesce(c.oid::regclass::text, w.relation_name), w.topic, outbox.watch_faults(w)
          from outbox.watches w left join pg_class c on c.oid = w.relation
        union all
        select 'route', coalesce(c.oid::regclass::text, r.relation_name), r.topic, outbox.route_faults(r)
          from outbox.routes r left join pg_class c on c.oid = r.relation
    ) as made (kind, relation_name, topic, faults)
    order by made.topic collate "C", made.relation_name collate "C"
$$;

comment on function outbox.installed() is
'What outbox.watch and outbox.route have installed, each with what is wrong with it now: a trigger that is disabled or gone, also '
'on a partition; a table or a column that is gone or has another name; a table that took its name; a child that is not watched; of '
'a route, a column of another type than when it was made. '
'Enabling the trigger, or calling outbox.watch or outbox.route again, mends it. What was written while a trigger was off has no '
'event: a reconciliation finds what the index lacks of it; what a route missed has to be inserted again.';

revoke all on function outbox.heirs(regclass), outbox.unseen(oid, oid, int, boolean), outbox.unseen_of(regclass, text, int, boolean),
    outbox.named(text), outbox.replaced(regclass, text, regclass[]), outbox.watch_faults(outbox.watches),
    outbox.route_faults(outbox.routes), outbox.installed() from public;

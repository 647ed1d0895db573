-- Creating the leaves of outbox.events ahead of time.

create function outbox.maintain(ahead int default 7) returns int
language plpgsql
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
-- Attaching waits for whoever uses the default leaf, and everybody else who wants it queues behind.
set lock_timeout = '500ms'
as $$
declare
    today timestamptz := date_trunc('day', clock_timestamp());
    first timestamptz;
    next timestamptz;
    leaf text;
    created int := 0;
begin
    if (ahead between 0 and 366) is not true then
        raise exception 'outbox.maintain: ahead is a number of days from 0 to 366' using
            errcode = 'invalid_parameter_value';
    end if;
    begin
        perform pg_advisory_xact_lock(outbox.wake_class(), 0);
    exception when lock_not_available then
        raise notice 'outbox.maintain: another call is at work';
        return 0;
    end;

    for day in 0..ahead loop
        first := today + make_interval(days => day);
        next := first + interval '1 day';
        leaf := 'events_' || to_char(first, 'YYYYMMDD');
        continue when to_regclass('outbox.' || leaf) is not null;
        -- Rows of a day that began without a leaf stay where they are, and so do those still to come of that day.
        if exists (select from outbox.events_default e where e.created_at >= first and e.created_at < next) then
            raise warning 'outbox.maintain: events of % are in the default leaf and stay there', first::date;
            continue;
        end if;
        begin
            execute format('create table outbox.%I (like outbox.events including all excluding identity
                            excluding comments)', leaf);
            execute format('alter table outbox.%I replica identity full', leaf);
            execute format('comment on table outbox.%I is %L', leaf, format('Events of %s (UTC).', first::date));
            -- CREATE TABLE … PARTITION OF would wait for every open writer, with everybody else behind it.
            execute format('alter table outbox.events attach partition outbox.%I for values from (%L) to (%L)',
                           leaf, first, next);
            created := created + 1;
        exception
            when lock_not_available then
                raise warning 'outbox.maintain: the default leaf is in use, leaves from % on wait for the next call',
                    first::date;
                exit;
            when check_violation then
                -- An event of that day reached the default leaf between the question and the lock.
                raise warning 'outbox.maintain: events of % are in the default leaf and stay there', first::date;
        end;
    end loop;
    return created;
end
$$;

comment on function outbox.maintain(int) is
'Creates the daily leaves of outbox.events for today and so many days ahead, and returns how many it made. The '
'owner of the outbox calls it at least once in that many days, in a transaction of its own, as often as it likes, '
'also several at once.
Open writers do not wait for it, nor it for them, except those that use the default leaf: then it gives up after '
'half a second, and the next call goes on.
A day without a leaf costs no event: they go to outbox.events_default and are published like all others. The price: '
'each leaf attached later first searches that table, while nobody can read or write it, and its space is only freed '
'once all its rows are past retention.';

revoke all on all functions in schema outbox from public;

select outbox.maintain();

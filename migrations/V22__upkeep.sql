-- What a relay does that does not own the outbox, and what everybody may read.

-- Upkeep ----------------------------------------------------------------------------------------------------------

-- Leaves belong to the owner of outbox.events, who alone can attach, empty and remove them. Each of these does one thing, to the
-- outbox only, whatever its caller puts in the way: so a relay may be allowed to call it, and own nothing.

-- An interval of months back and days forward is more than nothing, and what it leads to may lie ahead all the same.
do $$
declare
    made regprocedure;
    body text;
begin
    foreach made in array array['outbox.empty_leaf(interval)', 'outbox.purge_versions(interval, int)']::regprocedure[] loop
        body := replace(pg_get_functiondef(made), 'keep >= interval ''0''',
                        'keep >= interval ''0'' and clock_timestamp() - keep <= clock_timestamp()');
        assert body <> pg_get_functiondef(made), format('%s is not as it was made', made);
        execute body;
    end loop;
end
$$;

alter function outbox.maintain(int) security definer;
alter function outbox.purge_versions(interval, int) security definer;
alter function outbox.empty_leaf(interval) security definer;

comment on function outbox.maintain(int) is
'Creates the daily leaves of outbox.events for today and so many days ahead, and returns how many it made. Whoever may execute '
'it, the relay, calls it at least once in that many days, in a transaction of its own, as often as it likes, also several at '
'once.
Open writers do not wait for it, nor it for them, except those that use the default leaf: then it gives up after '
'half a second, and the next call goes on.
A day without a leaf costs no event: they go to outbox.events_default and are published like all others. The price: '
'each leaf attached later first searches that table, while nobody can read or write it, and its space is only freed '
'once all its rows are past retention.';

comment on function outbox.purge_versions(interval, int) is
'Takes the versions of keys away that were deleted so long ago, whose deletion every subscription has passed, and about '
'which nothing was said since; returns how many. To be called before outbox.empty_leaf, which takes the events away that say '
'so, by whoever may execute it: the relay.';

comment on function outbox.empty_leaf(interval) is
'Empties the oldest leaf whose day ended so long ago and whose events every subscription has passed, or removes one that '
'was emptied; returns its name, null when there is none for now. Whoever may execute it, the relay, calls it, each time in a '
'transaction of its own, until it returns null. Open writers do not wait for it, nor it for them; of a leaf somebody '
'reads it gives up after half a second.';

-- History ---------------------------------------------------------------------------------------------------------

-- Who may note a promotion, or have the next epoch begin, need not be able to write whatever they like into the history, nor take
-- any relay's lease from it.

alter function outbox.note_history() security definer;
alter function outbox.raise_epoch(int) security definer;
alter function outbox.agree_history(int, text) security definer;

-- Migrations ------------------------------------------------------------------------------------------------------

-- Which were applied is no secret from who may use the schema: every role asks, so that it does not run beside a schema that is
-- older than itself. (The table is made by whatever applies them.)
do $$
begin
    if to_regclass('outbox.migrations') is not null then
        grant select on outbox.migrations to public;
    end if;
end
$$;

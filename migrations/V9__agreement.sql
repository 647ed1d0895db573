-- Index and database agree on the history before anything is written to the index.
--
-- Two standbys promoted apart share everything but the token of their history; an index that was written by the one
-- tells the other by it.

create function outbox.agree_history(
    recorded_epoch int, recorded_token text, out epoch int, out token text, out verdict text
) language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    noted record;
begin
    select * into noted from outbox.note_history();
    epoch := noted.epoch;
    token := noted.token;
    verdict := noted.verdict;
    if verdict = 'foreign' or recorded_epoch is null
       or exists (select from outbox.history h where h.epoch = recorded_epoch and h.token::text = recorded_token) then
        return;
    end if;

    if recorded_epoch > epoch then
        verdict := 'behind';
    elsif recorded_epoch = epoch then
        verdict := 'apart';
        epoch := outbox.raise_epoch(recorded_epoch + 1);
        select h.token::text into token from outbox.history h where h.epoch = agree_history.epoch;
        -- A relay at work takes the new epoch up when it finds its term over; nobody else may take its lease for that.
        update outbox.subscriptions set lease_term = lease_term + 1;
    end if;
    -- What is of an earlier epoch is outdone by the present one, whoever wrote it.
end
$$;

comment on function outbox.agree_history(int, text) is
'Notes the present history and compares it with the one an index has recorded. As outbox.note_history(), and: ''apart'': '
'another copy of this database gave the same number to another history, the next epoch begins; ''behind'': the index has '
'a later epoch that this database never had: nothing was changed, and a person decides.';

revoke all on function outbox.agree_history(int, text) from public;

-- An end that is not taken is seen in the saga's log, and can be waived.

alter table outbox.sagas add column untold boolean not null default false;

comment on column outbox.sagas.untold is
'Whether it ends without what its kind wants done then, because somebody has called outbox.end_saga_untold.';

alter table outbox.saga_log
    drop constraint saga_log_event_check,
    add constraint saga_log_event_check check (event in
        ('acting', 'done', 'failed', 'compensating', 'undoing', 'undone', 'undo_failed', 'left', 'end_failed'));

comment on table outbox.saga_log is
'What sagas did, in order. acting and undoing are written before, the others after; left is what could not be undone, and '
'end_failed says why the end was not taken, once for each reason.';

create function outbox.end_saga_untold(kind text, subject text) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with ended as (
        update outbox.sagas s
           set untold = true, held_until = case when s.holder is not null then s.held_until end
         where s.kind = end_saga_untold.kind and s.subject = end_saga_untold.subject and s.ended_at is null
           and (select l.event from outbox.saga_log l where l.saga = s.id order by l.id desc limit 1) = 'end_failed'
           -- What goes forward can still be taken back, and its application told of that.
           and exists (select from outbox.saga_log l where l.saga = s.id and l.event in ('compensating', 'undone', 'left'))
        returning 1)
    select exists (select from ended);
$$;

comment on function outbox.end_saga_untold(text, text) is
'Has a saga whose steps are undone, and whose end is refused, as the last line of its log says, ended without running the '
'statement that refuses it; says whether there is one. Whoever it should have told has to be told in another way.';

revoke all on function outbox.end_saga_untold(text, text) from public;

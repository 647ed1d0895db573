-- Indexes that are made anew beside the one that is searched: how far that is, so that it goes on after a crash.

create table outbox.reindexes (
    id         bigint generated always as identity primary key,
    reader     text collate "C" not null,
    topic      text collate "C" not null,
    old_index  text collate "C" not null,
    new_index  text collate "C" not null,
    mapping    text not null,
    phase      text collate "C" not null default 'filling'
        check (phase in ('filling', 'comparing', 'switching', 'switched', 'returning', 'switching_back',
                         'finished', 'aborted', 'rolled_back')),
    problem    text,
    holder     text,
    held_until timestamptz,
    began_at   timestamptz not null default pg_catalog.clock_timestamp(),
    updated_at timestamptz not null default pg_catalog.clock_timestamp(),
    ended_at   timestamptz
);

create unique index reindexes_unfinished on outbox.reindexes (reader) where ended_at is null;

comment on table outbox.reindexes is
'Re-indexes without downtime, one row for each that was begun.';
comment on column outbox.reindexes.reader is 'The index it is about, as its configuration calls it.';
comment on column outbox.reindexes.topic is 'Whose events say what changed.';
comment on column outbox.reindexes.mapping is 'What the new index was made of: its settings and mappings.';
comment on column outbox.reindexes.phase is
'filling: live changes and every row go into the new index. comparing: with the database. switching: searches and '
'writers move to it. switched: done; the old one is kept. returning, switching_back: the way back.';
comment on column outbox.reindexes.problem is 'Why it did not go on when it last ended; null when nothing was wrong.';
comment on column outbox.reindexes.held_until is 'Until then nobody else goes on with it, on this database''s clock.';

revoke all on outbox.reindexes from public;

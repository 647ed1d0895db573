-- Long repairs as they are run: where one goes on after a crash, and what was done when.

create table outbox.runs (
    id         bigint generated always as identity primary key,
    kind       text collate "C" not null,
    reader     text collate "C" not null,
    after      text,
    counts     jsonb not null default '{}',
    holder     text,
    held_until timestamptz,
    began_at   timestamptz not null default pg_catalog.clock_timestamp(),
    updated_at timestamptz not null default pg_catalog.clock_timestamp(),
    ended_at   timestamptz,
    abandoned  boolean not null default false
);

create unique index runs_unfinished on outbox.runs (kind, reader) where ended_at is null;

comment on table outbox.runs is
'Backfills and other long repairs, one row for each that was begun: how far it has come, and what was done.';
comment on column outbox.runs.reader is 'The index it is about.';
comment on column outbox.runs.after is 'All keys up to this one are done, in the projection''s order.';
comment on column outbox.runs.counts is 'What was done so far, by name.';
comment on column outbox.runs.held_until is 'Until then nobody else takes it up, on this database''s clock.';
comment on column outbox.runs.abandoned is 'Given up for another one.';

revoke all on outbox.runs from public;

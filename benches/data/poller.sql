-- An outbox as people write it by hand: rows are flagged once they are published, and deleted a while later.
create table public.hand_outbox (
    id         bigint generated always as identity primary key,
    topic      text not null,
    key        text not null,
    payload    jsonb not null,
    published  boolean not null default false,
    created_at timestamptz not null default now()
);
create index hand_outbox_unpublished on public.hand_outbox (id) where not published;

-- The table of the benchmarks, one document a row.
create table public.jobs (
    id          uuid primary key,
    title       text not null,
    description text not null,
    status      text not null,
    salary      int not null,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now()
);

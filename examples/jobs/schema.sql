-- The reference domain: jobs, and the workspaces they run in. Apply it after the migrations of the outbox.

create table public.workspaces (
    id            uuid primary key default gen_random_uuid(),
    name          text not null,
    status        text not null default 'CREATING' check (status in ('CREATING', 'RUNNING', 'FAILED', 'DELETING', 'DELETED')),
    host          text,
    container_id  text,
    ip            inet,
    error_message text,
    version       int not null default 1,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now()
);

create index workspaces_status on public.workspaces (status);

create table public.jobs (
    id            uuid primary key default gen_random_uuid(),
    workspace_id  uuid references public.workspaces on delete set null,
    title         text not null,
    description   text,
    status        text not null default 'PENDING' check (status in ('PENDING', 'IN_PROGRESS', 'COMPLETED', 'FAILED')),
    priority      int not null default 0,
    tags          text[] not null default '{}',
    version       int not null default 1,
    error_message text,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    completed_at  timestamptz,
    es_synced_at  timestamptz
);

-- A change of a workspace looks for its jobs, and reconciliation for what changed lately.
create index jobs_workspace_id on public.jobs (workspace_id);
create index jobs_updated_at on public.jobs (updated_at);
create index jobs_status on public.jobs (status);

-- The application's optimistic lock: `update … where id = $1 and version = $2`. It is not the version in the index,
-- which outbox.versions gives out, because a document is made of two tables.
create function public.next_version() returns trigger language plpgsql as $$
begin
    new.version := old.version + 1;
    new.updated_at := now();
    return new;
end
$$;

create trigger next_version before update on public.workspaces
    for each row execute function public.next_version();
-- Noting that a job is in the index must change nothing else: it would be indexed again, and noted again, for ever.
create trigger next_version before update on public.jobs
    for each row when (old.es_synced_at is not distinct from new.es_synced_at) execute function public.next_version();

select outbox.watch('public.jobs', 'job-es-sync', ignore => array['es_synced_at']);

-- A job's document shows its workspace, so a change of one of these columns concerns all jobs in it.
select outbox.watch('public.workspaces', 'job-es-sync',
                    columns => array['name', 'status', 'host', 'ip', 'error_message'],
                    lookup => 'select job.id from public.jobs as job where job.workspace_id = ($1).id');

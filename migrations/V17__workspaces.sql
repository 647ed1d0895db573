-- What workspaces occupy, and the sagas that create and delete them.

create table outbox.placements (
    workspace text collate "C" primary key,
    host      text collate "C" not null,
    address   inet unique,
    host_name text collate "C" unique,
    placed_at timestamptz not null default pg_catalog.clock_timestamp()
);

comment on table outbox.placements is
'What workspaces occupy: the host their container is on, an address and a name that no other has. A row goes when its '
'workspace does.';

create function outbox.create_workspace(workspace text, params jsonb default '{}', time_allowed interval default '10 minutes')
returns bigint language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    used_up_by text := case
        when exists (select from outbox.sagas s
                      where s.kind = 'workspace-delete' and s.subject = create_workspace.workspace)
            then 'its workspace was deleted, or is to be'
        when exists (select from outbox.sagas s
                      where s.kind = 'workspace-create' and s.subject = create_workspace.workspace
                        and s.outcome = 'compensated')
            then 'its creation has failed and was taken back'
        when exists (select from outbox.placements p where p.workspace = create_workspace.workspace)
             and not exists (select from outbox.sagas s
                              where s.kind = 'workspace-create' and s.subject = create_workspace.workspace)
            then 'its workspace is placed, and its creation is forgotten'
    end;
begin
    if used_up_by is not null then
        raise exception 'outbox.create_workspace: the id % is used up: %', create_workspace.workspace, used_up_by
              using errcode = 'unique_violation', hint = 'An id is for one workspace, once: take a new one.';
    end if;
    return outbox.begin_saga('workspace-create', create_workspace.workspace, create_workspace.params,
                             create_workspace.time_allowed);
end
$$;

comment on function outbox.create_workspace(text, jsonb, interval) is
'Has a workspace created once this transaction commits: to be called in the one that writes its row. params: image, '
'command, env, setup, host, host_name, memory, cpus, pids, each optional. Returns the saga''s id; called again with the '
'same params, the same id. An id whose workspace failed or was deleted is refused.';

create function outbox.delete_workspace(workspace text) returns bigint
language sql security definer set search_path = pg_catalog, pg_temp as $$
    select outbox.cancel_saga('workspace-create', delete_workspace.workspace, 'the workspace is deleted');
    select outbox.begin_saga('workspace-delete', delete_workspace.workspace);
$$;

comment on function outbox.delete_workspace(text) is
'Has a workspace deleted once this transaction commits; one that is being created is taken back first. Returns the saga''s '
'id.';

create function outbox.grant_workspaces(role name) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    execute format('grant usage on schema outbox to %I', role);
    execute format('grant execute on function outbox.create_workspace(text, jsonb, interval), outbox.delete_workspace(text) '
                   'to %I', role);
end
$$;

comment on function outbox.grant_workspaces(name) is
'Lets a role have workspaces created and deleted, and no other sagas begun.';

revoke all on outbox.placements from public;
revoke all on function outbox.create_workspace(text, jsonb, interval), outbox.delete_workspace(text),
    outbox.grant_workspaces(name) from public;

-- What becomes of jobs and workspaces when workspaces are created and deleted: the statements of the section [workspaces] call
-- these functions, each in the transaction that begins or ends the saga. Apply it after schema.sql.
--
--   known   = "select id, status in ('FAILED', 'DELETED') as is_gone from public.workspaces"
--   create  = "select public.workspace_creating($1)"
--   ready   = "select public.workspace_ready($1)"
--   failed  = "select public.workspace_failed($1)"
--   delete  = "select public.workspace_deleting($1)"
--   deleted = "select public.workspace_deleted($1)"

-- `told` has `workspace`, `params` and `details`: here the workspace's name and the title of its first job.
create function public.workspace_creating(told jsonb) returns void language plpgsql as $$
begin
    insert into public.workspaces (id, name)
    values ((told->>'workspace')::uuid, coalesce(told->'details'->>'name', told->>'workspace'));
    insert into public.jobs (workspace_id, title, status)
    values ((told->>'workspace')::uuid, coalesce(told->'details'->>'title', 'set up the workspace'), 'IN_PROGRESS');
end
$$;

-- From here on `told` has `subject`, which is the workspace, and `outputs`, `error` and `left`.
create function public.workspace_ready(told jsonb) returns void language plpgsql as $$
begin
    update public.workspaces
       set status = 'RUNNING', host = told->'outputs'->>'place', container_id = told->'outputs'->>'container',
           ip = (told->'outputs'->>'address')::inet
     where id = (told->>'subject')::uuid and status = 'CREATING';
    -- Refused, it is taken back: there is nothing a container could belong to.
    if not found then
        raise 'workspace % is not being created', told->>'subject';
    end if;
    update public.jobs set status = 'COMPLETED', completed_at = now()
     where workspace_id = (told->>'subject')::uuid and status = 'IN_PROGRESS';
end
$$;

-- The triggers of outbox.watch write the events for the index; the user is told by an event of its own.
create function public.workspace_failed(told jsonb) returns void language plpgsql as $$
begin
    update public.jobs set status = 'FAILED', error_message = told->>'error', completed_at = now()
     where workspace_id = (told->>'subject')::uuid and status in ('PENDING', 'IN_PROGRESS');
    update public.workspaces
       set status = 'FAILED', error_message = told->>'error', host = null, container_id = null, ip = null
     where id = (told->>'subject')::uuid;
    perform outbox.emit('notifications', told->>'subject', payload => jsonb_build_object(
        'type', 'workspace-creation-failed', 'workspace', told->>'subject', 'error', told->>'error'));
end
$$;

create function public.workspace_deleting(told jsonb) returns void language plpgsql as $$
begin
    update public.workspaces set status = 'DELETING'
     where id = (told->>'workspace')::uuid and status in ('CREATING', 'RUNNING', 'FAILED');
    if not found then
        raise 'there is no workspace %', told->>'workspace';
    end if;
end
$$;

create function public.workspace_deleted(told jsonb) returns void language plpgsql as $$
begin
    update public.workspaces set status = 'DELETED', host = null, container_id = null, ip = null
     where id = (told->>'subject')::uuid;
end
$$;

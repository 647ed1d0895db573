-- The document of a job. `key` is a plain column, so that asking for some keys uses its index; the version comes from
-- outbox.versions, because the document is made of two tables.
select job.id as key,
       json_build_object(
           'id', job.id,
           'title', job.title,
           'description', job.description,
           'status', job.status,
           'priority', job.priority,
           'tags', job.tags,
           'version', job.version,
           'error_message', job.error_message,
           'created_at', job.created_at,
           'updated_at', job.updated_at,
           'completed_at', job.completed_at,
           'workspace', case when workspace.id is not null then json_build_object(
               'id', workspace.id,
               'name', workspace.name,
               'status', workspace.status,
               'host', workspace.host,
               'ip', host(workspace.ip),
               'error_message', workspace.error_message) end
       ) as document,
       -- What people search, under the names of the fields of the document: so PostgreSQL is searched when the index is away.
       job.title, job.description, job.status, job.priority, job.tags, job.created_at, job.updated_at, job.completed_at,
       workspace.status as "workspace.status", workspace.host as "workspace.host"
from public.jobs as job
left join public.workspaces as workspace on workspace.id = job.workspace_id

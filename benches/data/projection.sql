select job.id as key,
       json_build_object(
           'id', job.id,
           'title', job.title,
           'description', job.description,
           'status', job.status,
           'salary', job.salary,
           'created_at', job.created_at,
           'updated_at', job.updated_at
       ) as document,
       job.title, job.description, job.status, job.salary, job.created_at
from public.jobs as job

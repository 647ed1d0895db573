\timing on
prepare sc(text,text,text,bigint) as
select p.key::text, true, v.version, extract(epoch from pg_catalog.clock_timestamp() - v.updated_at)::float8
from (select key from (select job.id as key, json_build_object('id', job.id, 'title', job.title, 'description', job.description, 'status', job.status,'salary', job.salary,'created_at', job.created_at,'updated_at', job.updated_at) as document
from public.jobs as job) as projection where ($1::text is null or key > $1::text::uuid) and document is not null order by key limit $4) as p
left join outbox.versions v on v.topic = $2 and v.key = p.key::text order by p.key;
explain (analyze, buffers) execute sc('40000000-0000-0000-0000-000000000000','t',null,4000);
explain (analyze, buffers) execute sc('80000000-0000-0000-0000-000000000000','t',null,4000);
set enable_hashjoin=off;
prepare st(text[],text,text,text[]) as select w.place, coalesce(p.has_document,false), v.version
from unnest($1::text[]) with ordinality as w(key, place)
left join (select key, document is not null as has_document from (select job.id as key, json_build_object('id', job.id, 'title', job.title, 'description', job.description, 'status', job.status,'salary', job.salary,'created_at', job.created_at,'updated_at', job.updated_at) as document
from public.jobs as job) as projection where key = any ($4::text[]::uuid[])) as p on p.key::text = w.key left join outbox.versions v on v.topic = $2 and v.key = w.key;
set enable_hashjoin=on;
select array_agg(id::text) as ks from (select id from jobs order by title limit 4000) x \gset
explain (analyze, buffers) execute st(:'ks','t',null,:'ks');
explain (analyze, buffers) execute st(:'ks','t',null,:'ks');

-- The outbox table as Debezium's event router expects it, and what its connector reads it through. The harness fills in
-- what is in double braces and runs this in a database of its own, before the backlog is written: what is inserted after
-- the slot was made is what the connector will publish.

begin;

create table {{table}} (
    id uuid not null primary key,
    aggregatetype varchar(255) not null,
    aggregateid varchar(255) not null,
    type varchar(255) not null,
    payload jsonb not null
);

-- Rows deleted later never leave the server.
create publication {{publication}} for table {{table}} with (publish = 'insert');

-- A slot cannot be made in a transaction that has written something.
commit;

select pg_create_logical_replication_slot('{{slot}}', 'pgoutput');

-- What the holder of a lease leaves for the next one.

alter table outbox.leases add note text;

comment on column outbox.leases.note is 'What its holder leaves for the next one: of the alerts, what people were told.';

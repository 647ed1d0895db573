-- Who of several processes does what one is to do.

create table outbox.leases (
    name       text collate "C" primary key,
    holder     text not null,
    held_until timestamptz not null
);

comment on table outbox.leases is 'Who of several processes does what one is to do, such as telling people of alerts.';

revoke all on outbox.leases from public;

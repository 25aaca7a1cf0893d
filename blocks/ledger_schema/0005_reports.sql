-- What forges were told about the runs of deliveries: rows that are only added.

create table slipway.delivery_report (
    delivery_id text collate "C" not null references slipway.delivery,
    number integer not null check (number > 0),
    at timestamptz not null,
    state text not null check (state in ('pending', 'waiting', 'success', 'failure', 'error')),
    refused text not null,
    primary key (delivery_id, number)
);
create index delivery_end_newest on slipway.delivery_end (at);

create trigger append_only before update or delete or truncate on slipway.delivery_report
    for each statement execute function slipway.refuse_change();
alter table slipway.delivery_report enable always trigger append_only;

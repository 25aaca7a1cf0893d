-- Deliveries of webhooks: rows that are only added, and the queue of those whose runs are not started yet.

create table slipway.delivery (
    id text collate "C" primary key,
    -- The order in which they were taken, and in which their runs are started.
    sequence bigint generated always as identity,
    source text not null,
    event_id text not null,
    event_name text not null,
    happening text check (happening in ('push', 'tag')),
    repository text not null,
    ref text not null,
    commit text not null,
    actor text not null,
    received_at timestamptz not null,
    status text not null check (status in ('ignored', 'repeated', 'waiting')),
    why text not null,
    flow text,
    parameters json,
    -- What it asks for, of those that were the first to do so.
    action text,
    unique (source, event_id),
    check ((status = 'waiting') = (action is not null and flow is not null and parameters is not null))
);
create unique index delivery_action on slipway.delivery (action);
create index delivery_newest on slipway.delivery (sequence);

create table slipway.delivery_end (
    delivery_id text collate "C" primary key references slipway.delivery,
    at timestamptz not null,
    run_id text not null,
    refused text not null
);

create table slipway.delivery_waiting (
    sequence bigint primary key,
    delivery_id text collate "C" not null references slipway.delivery
);

create trigger append_only before update or delete or truncate on slipway.delivery
    for each statement execute function slipway.refuse_change();
create trigger append_only before update or delete or truncate on slipway.delivery_end
    for each statement execute function slipway.refuse_change();
alter table slipway.delivery enable always trigger append_only;
alter table slipway.delivery_end enable always trigger append_only;

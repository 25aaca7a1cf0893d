-- Leases, and who waits for them: rows that change. All times are this server's, clock_timestamp().

create table slipway.lease (
    scope text primary key,
    holder text not null,
    -- Rises with each acquisition; the row stays when a lease is given up, so that it never falls.
    token bigint not null,
    acquired_at timestamptz not null,
    expires_at timestamptz not null,
    -- What was granted: no lease has more left than this, also after the server's clock was set back.
    good_for_s double precision not null,
    parked boolean not null,
    given_up boolean not null
);

create table slipway.lease_waiter (
    scope text not null,
    holder text not null,
    since timestamptz not null,
    asked_at timestamptz not null,
    -- The order of the queue, whatever the server's clock does.
    place bigint generated always as identity,
    primary key (scope, holder)
);

alter table slipway.release_end
    drop constraint release_end_outcome_check,
    add constraint release_end_outcome_check
        check (outcome in ('succeeded', 'failed', 'rolled-back', 'unsafe', 'interrupted'));

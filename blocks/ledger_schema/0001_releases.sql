-- The ledger's evidence. Rows are only ever added: what ends a release is a row of its own.
-- The triggers stop mistakes of people and programs alike, also of superusers and in replication mode. Whoever owns the
-- tables can still drop them: give the workers a role with SELECT and INSERT only where that matters.

create function slipway.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'slipway.% is append-only: % is refused', tg_table_name, tg_op using errcode = 'restrict_violation';
end
$$;

create table slipway.release_record (
    -- The flow run. "C": searched by prefix, whatever the database's language is.
    id text collate "C" primary key,
    sequence bigint generated always as identity,
    kind text not null check (kind in ('release', 'rollback')),
    service text not null,
    environment text not null,
    release text not null,
    commit text not null,
    subject text not null,
    strategy text not null,
    requested_by text not null,
    started_at timestamptz not null,
    digest text
);
create index release_record_newest on slipway.release_record (started_at, sequence);
create index release_record_newest_of_release
    on slipway.release_record (service, environment, release, started_at, sequence);

create table slipway.release_end (
    record_id text collate "C" primary key references slipway.release_record,
    outcome text not null check (outcome in ('succeeded', 'failed', 'rolled-back', 'unsafe')),
    ended_at timestamptz not null,
    error text,
    digest text
);

create table slipway.evidence (
    record_id text collate "C" not null references slipway.release_record,
    sequence bigint generated always as identity,
    kind text not null,
    name text not null,
    at timestamptz not null,
    -- json and not jsonb: numbers and the order of keys stay as they were written.
    facts json not null,
    duration_s double precision,
    primary key (record_id, sequence)
);

create trigger append_only before update or delete or truncate on slipway.release_record
    for each statement execute function slipway.refuse_change();
create trigger append_only before update or delete or truncate on slipway.release_end
    for each statement execute function slipway.refuse_change();
create trigger append_only before update or delete or truncate on slipway.evidence
    for each statement execute function slipway.refuse_change();
create trigger append_only before update or delete or truncate on slipway.migration_history
    for each statement execute function slipway.refuse_change();
alter table slipway.release_record enable always trigger append_only;
alter table slipway.release_end enable always trigger append_only;
alter table slipway.evidence enable always trigger append_only;
alter table slipway.migration_history enable always trigger append_only;

-- The catalogue of backups, and what was found of them by restoring: rows that are only added.

create table slipway.backup (
    id text collate "C" primary key,
    sequence bigint generated always as identity,
    plan text not null,
    engine text not null,
    repository integer not null check (repository > 0),
    label text not null,
    kind text not null check (kind in ('full', 'differential', 'incremental')),
    started_at timestamptz not null,
    ended_at timestamptz not null,
    size_bytes bigint not null check (size_bytes >= 0),
    stored_bytes bigint not null check (stored_bytes >= 0),
    needs text[] not null,
    source_version text not null,
    error text not null,
    digest text not null,
    run_id text not null
);
create index backup_newest on slipway.backup (plan, ended_at, sequence);

create table slipway.backup_verification (
    backup_id text collate "C" not null references slipway.backup,
    run_id text collate "C" not null,
    sequence bigint generated always as identity,
    began_at timestamptz not null,
    ended_at timestamptz not null,
    -- 'nothing': no rung has held and none is broken; it says nothing about the backup.
    found text not null check (found in ('sound', 'unsound', 'nothing')),
    -- json and not jsonb: numbers and the order of keys stay as they were written.
    rungs json not null,
    rpo_s double precision,
    rto_s double precision,
    primary key (backup_id, run_id)
);
create index backup_verification_newest on slipway.backup_verification (backup_id, found, ended_at, sequence);

-- The newest row of a backup counts; one without a reason lets it go.
create table slipway.backup_hold (
    backup_id text collate "C" not null references slipway.backup,
    sequence bigint generated always as identity,
    reason text not null,
    held_by text not null,
    at timestamptz not null,
    primary key (backup_id, sequence)
);

create table slipway.backup_expiry (
    backup_id text collate "C" primary key references slipway.backup,
    why text not null,
    run_id text not null,
    at timestamptz not null
);

create trigger append_only before update or delete or truncate on slipway.backup
    for each statement execute function slipway.refuse_change();
create trigger append_only before update or delete or truncate on slipway.backup_verification
    for each statement execute function slipway.refuse_change();
create trigger append_only before update or delete or truncate on slipway.backup_hold
    for each statement execute function slipway.refuse_change();
create trigger append_only before update or delete or truncate on slipway.backup_expiry
    for each statement execute function slipway.refuse_change();
alter table slipway.backup enable always trigger append_only;
alter table slipway.backup_verification enable always trigger append_only;
alter table slipway.backup_hold enable always trigger append_only;
alter table slipway.backup_expiry enable always trigger append_only;

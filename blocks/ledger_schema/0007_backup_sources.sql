-- What the sources of backups were when those were taken: rows that are only added.

-- A schema is the same for many backups, and is kept once.
create table slipway.backup_schema (
    digest text collate "C" primary key,
    -- json and not jsonb: as it was written.
    objects json not null
);

create table slipway.backup_source (
    backup_id text collate "C" primary key references slipway.backup,
    at timestamptz not null,
    steady boolean not null,
    facts json not null,
    schema_digest text collate "C" not null references slipway.backup_schema
);

create trigger append_only before update or delete or truncate on slipway.backup_schema
    for each statement execute function slipway.refuse_change();
create trigger append_only before update or delete or truncate on slipway.backup_source
    for each statement execute function slipway.refuse_change();
alter table slipway.backup_schema enable always trigger append_only;
alter table slipway.backup_source enable always trigger append_only;

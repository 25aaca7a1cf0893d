-- Challenges: verifications that were shown to find damage made on purpose, or not to: rows that are only added.

create table slipway.backup_challenge (
    run_id text collate "C" primary key,
    sequence bigint generated always as identity,
    plan text not null,
    -- Copies of it were damaged; of the backup itself a challenge says nothing.
    backup_id text collate "C" not null references slipway.backup,
    began_at timestamptz not null,
    ended_at timestamptz not null,
    verdict text not null check (verdict in ('every damage was found', 'NOT FOUND', 'no verdict')),
    -- json and not jsonb: numbers and the order of keys stay as they were written.
    controls json not null,
    trials json not null
);
create index backup_challenge_newest on slipway.backup_challenge (plan, ended_at, sequence);

create trigger append_only before update or delete or truncate on slipway.backup_challenge
    for each statement execute function slipway.refuse_change();
alter table slipway.backup_challenge enable always trigger append_only;

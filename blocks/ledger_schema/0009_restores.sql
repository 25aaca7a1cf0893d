-- What is on record of restores: the question, the answer, the end. Rows that are only added.

create table slipway.restore_note (
    run_id text collate "C" not null,
    kind text not null check (kind in ('asked', 'answered', 'ended')),
    sequence bigint generated always as identity,
    plan text not null,
    target text not null,
    at timestamptz not null,
    facts json not null,
    primary key (run_id, kind)
);

create trigger append_only before update or delete or truncate on slipway.restore_note
    for each statement execute function slipway.refuse_change();
alter table slipway.restore_note enable always trigger append_only;

-- What is on record of moves between sites: the decision, question, answer, steps, end. Rows that are only added.

create table slipway.move_note (
    run_id text collate "C" not null,
    kind text not null,
    sequence bigint generated always as identity,
    -- The run that decided on the move; runs that carry it on note it, too.
    move_id text collate "C" not null,
    failover text collate "C" not null,
    at timestamptz not null,
    facts json not null,
    primary key (run_id, kind)
);
create index move_note_newest on slipway.move_note (failover, sequence);

create trigger append_only before update or delete or truncate on slipway.move_note
    for each statement execute function slipway.refuse_change();
alter table slipway.move_note enable always trigger append_only;

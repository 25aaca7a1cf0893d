-- What is on record of drills: the question of a live one, each round, the end. Rows that are only added.

create table slipway.drill_note (
    run_id text collate "C" not null,
    kind text not null check (kind in ('asked', 'answered', 'round', 'ended')),
    number integer not null check (number >= 0),
    sequence bigint generated always as identity,
    drill text not null,
    cluster text not null,
    at timestamptz not null,
    facts json not null,
    primary key (run_id, kind, number)
);

create index drill_note_ended on slipway.drill_note (drill, sequence) where kind = 'ended';

create trigger append_only before update or delete or truncate on slipway.drill_note
    for each statement execute function slipway.refuse_change();
alter table slipway.drill_note enable always trigger append_only;

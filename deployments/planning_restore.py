"""What a restore would do now, without doing it."""

from blocks.estate import open_estate
from tasks.common.backups import Ability
from tasks.restore.choose import choose
from tasks.restore.decide import must_ask, require_fits, require_room, settle, steps_of
from tasks.restore.model import Settlement
from tasks.restore.request import RestoreRequest


def plan_restore(request: RestoreRequest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the steps of a restore in order, and what a person has to know. Nothing is changed.

    Raises:
        Refused: it would be refused.
        Unsafe: a run has died at the target, and somebody has moved folders since.
    """
    estate = open_estate(request.estate)
    spec, target = estate.target_spec(request.plan, request.to), estate.target(request.plan, request.to)
    engine, seen = estate.backup(request.plan), target.observe()
    require_fits(engine.form, target.forms, spec, f"{request.plan} into {request.to}")
    what = settle(seen, target.where)
    estate.ledger.prepare()
    entries = estate.ledger.catalogue.entries(request.plan)
    can = Ability.POINT_IN_TIME in engine.abilities().can
    chosen = choose(request, entries, engine.reaches, point_in_time=can)
    if what is not Settlement.NOTHING:
        assert seen.journal is not None
        return ((f"settle what run {seen.journal.run_id} has left: {what}", "then decide anew"), chosen.remarks)
    must_ask(seen, spec, target.where, target.address)
    require_room(chosen, seen, target.where)
    target.check(engine.form, chosen.entry.stored.source_version)
    return steps_of(chosen, spec, seen, target.address, engine.form), chosen.remarks

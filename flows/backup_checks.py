"""What there is to look at for each backup plan of an estate: its engine, its repositories, its scratch server."""

from collections.abc import Callable
from functools import partial

from blocks.estate import OpenEstate
from tasks.common.backups import SECOND, Abilities, Ability
from tasks.preflight.looks import look
from tasks.preflight.model import Look
from tasks.verification.choice import require_scratch


def backup_looks(estate: OpenEstate) -> list[Look]:
    """Return what there is to look at, named after the plans.

    An engine that needs WAL to be archived has the server finish a segment, and looks for it in the repositories.
    """
    looks: list[Look] = []
    for plan, wanted in estate.file.backups.items():
        asked: dict[str, Callable[[], object]] = {
            f"{plan}: programs of {wanted.engine.driver}": partial(_programs, estate, plan),
            f"{plan}: a backup could be taken now": partial(_ready, estate, plan),
        }
        if wanted.verification is not None:
            asked[f"{plan}: scratch server"] = partial(_scratch, estate, plan)
        looks += [look(name, ask) for name, ask in asked.items()]
    return looks


def _programs(estate: OpenEstate, plan: str) -> str:
    return described(estate.backup(plan).abilities())


def _ready(estate: OpenEstate, plan: str) -> str:
    engine = estate.backup(plan)
    engine.check()
    if Ability.SECOND_REPOSITORY in engine.abilities().can:
        engine.check(SECOND, wal=False)
    return "the source answers, and the repositories can be written"


def _scratch(estate: OpenEstate, plan: str) -> str:
    server, how = estate.scratch(plan), estate.backup_plan(plan).verification
    assert server is not None and how is not None, "it was asked for because the plan names one"
    require_scratch(estate.backup(plan).form, server.forms, how.name or "", plan)
    taken = [entry.stored for entry in estate.ledger.catalogue.entries(plan) if entry.stored.source_version]
    newest = max(taken, key=lambda backup: backup.ended_at, default=None)
    return server.check(newest.source_version if newest else "")


def described(abilities: Abilities) -> str:
    """Return programs with their versions, and what they cannot do with why, in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(abilities.versions.items()))
    missing = [f"no {ability}: {why}" for ability, why in abilities.missing.items()]
    return "; ".join([versions, *missing, *abilities.remarks])

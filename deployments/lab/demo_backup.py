"""The last part of 'make demo': campus's database is backed up, and the backup proven by restoring it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta

from pydantic import BaseModel

from deployments.lab.lab import Lab
from tasks.common.backup_plans import Objectives
from tasks.common.backups import Entry, RungOutcome, Verification
from tasks.common.errors import Refused
from tasks.common.units import show_duration, show_size

PLAN = "campus-db"


@dataclass(frozen=True)
class Proof:
    """A backup that was taken and proven.

    Args:
        entry: the backup, as the catalogue has it.
        copies: in how many repositories it lies.
        verification: what was found when it was restored.
        objectives: of the plan.
    """

    entry: Entry
    copies: int
    verification: Verification
    objectives: Objectives

    def lines(self) -> list[str]:
        """Return what people are shown: what was taken, what was proven, RPO and RTO against the objectives."""
        stored, found = self.entry.stored, self.verification
        took_s = (stored.ended_at - stored.started_at) / timedelta(seconds=1)
        held = [rung.name for rung in found.rungs if rung.outcome is RungOutcome.HELD]
        return [
            f"backup     {self.entry.id}",
            f"           {show_size(stored.size_bytes)} in {show_duration(took_s)}, encrypted, in {self.copies} "
            "repositories",
            f"proven     by a restore into a server of its own; what held: {', '.join(held)}",
            f"RPO        {_against(found.rpo_s, self.objectives.rpo_s)}: what would have been lost",
            f"RTO        {_against(found.rto_s, self.objectives.rto_s)}: until the data were there, and right",
        ]

    def report(self) -> dict[str, object]:
        """Return all figures, for report.json."""
        return {"backup": asdict(self.entry), "verification": asdict(self.verification)}


def back_up_and_prove(lab: Lab, say: Callable[[str], None]) -> Proof:
    """A new backup of campus's database is there, and proven by a restore.

    Raises:
        Refused: it could not be taken, or is not proven; which run says why.
    """
    # Prefect reads where its server is when it is imported.
    from blocks.estate import open_estate
    from tasks.backup.request import BackupRequest
    from tasks.verification.request import VerifyRequest

    estate = str(lab.estate_file)
    taken_by = _run(lab, "backup", BackupRequest(plan=PLAN, estate=estate, requested_by="make demo"), say)
    proven_by = _run(lab, "verify-backup", VerifyRequest(plan=PLAN, estate=estate), say)
    opened = open_estate(estate)
    catalogue = opened.ledger.catalogue
    taken = [each for each in catalogue.entries(PLAN) if each.run_id == taken_by]
    (found,) = (each for each in catalogue.verifications(PLAN, 5) if each.run_id == proven_by)
    return Proof(catalogue.entry(found.entry_id), len(taken), found, opened.backup_plan(PLAN).objectives)


def _run(lab: Lab, flow: str, request: BaseModel, say: Callable[[str], None]) -> str:
    """Return the id of a run that has ended well."""
    from deployments import runs
    from tasks.common.run_steps import start_run

    run_id = start_run(flow, request)
    ended = runs.follow(run_id, say)
    if not ended.completed:
        raise Refused(
            f"{flow} of {PLAN} ended as {ended.state}",
            on=ended.name,
            state="the lab is left as it is, to be looked at",
            next_action=f"'.venv/bin/slipway backups', or the run in the Prefect UI: {lab.ui_url}",
            facts={"why": ended.message},
        )
    return run_id


def _against(value: float | None, objective: float) -> str:
    measured = "not measured" if value is None else show_duration(value)
    return f"{measured} of {show_duration(objective)}"

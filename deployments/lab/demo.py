"""The main job, three times, under load that is counted from the outside: what 'make demo' runs.

campus v1 goes out blue-green, v2 as a canary through all stages, and v3, which has a fault that only shows under real
traffic, must be turned back without anybody's help. What users got meanwhile is in the summary, and in report.json.
Then campus's database is backed up, and the backup proven by a restore.
"""

import json
import os
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deployments.lab.campus_versions import make_repository
from deployments.lab.demo_backup import Proof, back_up_and_prove
from deployments.lab.lab import Lab
from deployments.lab.load_report import Phase, PhaseReport, summarise
from deployments.lab.programs import LOAD_PER_S
from tasks.common.errors import Refused, SlipwayError
from tasks.common.units import show_duration, show_percent
from tasks.release.model import Evidence, Outcome, ReleaseRecord

EXPECTED = {"v1": Outcome.SUCCEEDED, "v2": Outcome.SUCCEEDED, "v3": Outcome.ROLLED_BACK}
console = Console(highlight=False)


@dataclass(frozen=True)
class Release:
    """One release of the demo.

    Args:
        version: v1, v2 or v3.
        record: how it went, from the ledger.
        evidence: what was done, from the ledger.
        started_at: when it was asked for; aware.
        ended_at: when its run had ended; aware.
    """

    version: str
    record: ReleaseRecord
    evidence: tuple[Evidence, ...]
    started_at: datetime
    ended_at: datetime

    @property
    def phases(self) -> list[Phase]:
        """Return the whole release, then each stage in its environment until the next one was reached."""
        reached = [e for e in self.evidence if e.kind in ("stage", "roll-back") and self._is_here(e)]
        ends = [e.at for e in reached[1:]] + [self.ended_at]
        stages = [Phase(_stage_name(e), e.at, end) for e, end in zip(reached, ends, strict=True)]
        return [Phase("all", self.started_at, self.ended_at), *stages]

    def _is_here(self, item: Evidence) -> bool:
        return self.record.environment in (item.facts.get("environment"), item.name)


@dataclass(frozen=True)
class Outside:
    """A release as its users saw it: the whole of it, and stage by stage."""

    release: Release
    whole: PhaseReport
    stages: tuple[PhaseReport, ...]

    @property
    def as_expected(self) -> bool:
        """Return whether it ended as it must, and nobody noticed a good release."""
        unnoticed = self.whole.failed == self.whole.unaccounted == 0
        outcome = EXPECTED[self.release.version]
        return self.release.record.outcome is outcome and (unnoticed or outcome is Outcome.ROLLED_BACK)

    @property
    def bad_for_s(self) -> float | None:
        """Return the time from the release's first bad answer to its last; None if there was none."""
        served = self.whole.by_release.get(self.release.record.release)
        if served is None or served.first_bad_at is None or served.last_bad_at is None:
            return None
        return (served.last_bad_at - served.first_bad_at).total_seconds()


def main() -> int:
    """Run the demo; returns 0 if everything went as it must."""
    began = time.monotonic()
    lab = Lab(Path(os.environ["SLIPWAY_VAR"])) if "SLIPWAY_VAR" in os.environ else Lab()
    lab.load_file.parent.mkdir(parents=True, exist_ok=True)
    try:
        versions = make_repository(lab.campus_repository)
        lab.up(lambda text: console.print(text, style="dim"))
        os.environ.update(lab.environment())
        console.print(f"the lab is up; watch in the Prefect UI: [bold]{lab.ui_url}[/bold]")
        console.print(f"the auth string that it asks for is in {lab.auth_file}\n", markup=False)
        seen = [_outside(lab, release) for release in _release_all(lab, versions)]
        console.print("[bold]backup[/bold] of campus's database, and its proof")
        proof = back_up_and_prove(lab, _say)
    except SlipwayError as error:
        console.print(error.block(), markup=False, style="red")
        return 1
    report = lab.load_file.with_name("report.json")
    _write_report(report, lab, seen, proof)
    _show(lab, seen, proof, report, time.monotonic() - began)
    return 0 if all(each.as_expected for each in seen) else 1


def _release_all(lab: Lab, versions: dict[str, str]) -> list[Release]:
    lab.load_file.unlink(missing_ok=True)
    try:
        return [_release(lab, version, versions[version]) for version in EXPECTED]
    finally:
        lab.stop_load()


def _release(lab: Lab, version: str, commit: str) -> Release:
    # Prefect reads where its server is when it is imported.
    from blocks.estate import open_estate
    from deployments import runs
    from tasks.common.run_steps import start_run
    from tasks.release.request import ReleaseRequest

    loading = lab.start_load()

    def say(line: str) -> None:
        nonlocal loading
        _say(line)
        # Before the very first release there is nothing to send requests to.
        loading = loading or lab.start_load()

    console.print(f"[bold]{version}[/bold] {commit[:7]}")
    started_at = datetime.now(UTC)
    run_id = start_run(
        "release",
        ReleaseRequest(service="campus", commit=commit, estate=str(lab.estate_file), requested_by="make demo"),
    )
    ended = runs.follow(run_id, say)
    ended_at = datetime.now(UTC)
    ledger = open_estate(str(lab.estate_file)).ledger
    record = ledger.record(run_id)
    console.print(f"  {ended.name}: {record.outcome} ({ended.state})\n", markup=False)
    if record.outcome is not EXPECTED[version]:
        raise Refused(
            f"{version} ended as {record.outcome}, and not as {EXPECTED[version]}",
            on=ended.name,
            state="the lab is left as it is, to be looked at",
            next_action=f"'.venv/bin/slipway releases show {run_id[:8]}', or the run in the Prefect UI: {lab.ui_url}",
            facts={"why": record.error or "it succeeded, and should not have"},
        )
    return Release(version, record, ledger.evidence(run_id), started_at, ended_at)


def _say(line: str) -> None:
    console.print(f"  {line}", markup=False, style="dim", overflow="ellipsis", no_wrap=True)


def _outside(lab: Lab, release: Release) -> Outside:
    whole, *stages = summarise(lab.load_file, release.phases)
    return Outside(release, whole, tuple(stages))


def _stage_name(item: Evidence) -> str:
    if item.kind == "roll-back":
        return "roll back"
    weight = item.facts.get("weight_percent")
    name = item.name.partition(":")[0]
    return name if "%" in name or not isinstance(weight, int | float) else f"{name} ({show_percent(weight)})"


def _show(lab: Lab, seen: list[Outside], proof: Proof, report: Path, took_s: float) -> None:
    for each in seen:
        record = each.release.record
        took = show_duration((each.release.ended_at - each.release.started_at).total_seconds())
        console.print(f"[bold]{each.release.version}[/bold] {record.commit[:7]} {record.subject}")
        console.print(f"   {record.strategy}, [bold]{record.outcome}[/bold] in {took}")
        if record.error:
            console.print(f"   why: {record.error.splitlines()[0]}", markup=False)
        table = Table("phase", "requests", "failed", "by the release", "of these bad", "p95")
        for stage in (*each.stages, each.whole):
            served = stage.by_release.get(record.release)
            table.add_row(
                stage.name,
                str(stage.scheduled),
                str(stage.failed + stage.unaccounted),
                str(served.answered if served else 0),
                str(served.bad if served else 0),
                show_duration(stage.p95_s or 0.0),
            )
        console.print(table)
        if each.bad_for_s is not None:
            console.print(f"   from its first bad answer to its last: {show_duration(each.bad_for_s)}")
        console.print()
    console.print("\n".join(proof.lines()), markup=False, soft_wrap=True, end="\n\n")
    fine = all(each.as_expected for each in seen)
    verdict = "everything went as it must" if fine else "NOT everything went as it must: users saw failures"
    console.print(
        f"{verdict}; took {show_duration(took_s)}\n"
        f"  Prefect UI      {lab.ui_url} (auth string: in {lab.auth_file})\n"
        f"  production      http://127.0.0.1:{lab.ports['production']}\n"
        f"  all figures     {report}\n"
        "  what next       .venv/bin/slipway releases list; .venv/bin/slipway backups; make down",
        markup=False,
        style="green" if fine else "bold red",
    )


def _write_report(path: Path, lab: Lab, seen: list[Outside], proof: Proof) -> None:
    report = {
        "as_expected": all(each.as_expected for each in seen),
        "ui": lab.ui_url,
        "requests_per_s": LOAD_PER_S,
        "releases": [
            {
                "version": each.release.version,
                "record": asdict(each.release.record),
                "users": asdict(each.whole),
                "stages": [asdict(stage) for stage in each.stages],
                "first_to_last_bad_answer_s": each.bad_for_s,
                "verdicts": [asdict(e) for e in each.release.evidence if e.kind == "verdict"],
            }
            for each in seen
        ],
        "proof": proof.report(),
    }
    path.write_text(json.dumps(report, indent=2, default=str), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())

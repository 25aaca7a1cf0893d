"""The @task functions of analysis: thin, and the only module here that imports Prefect."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from prefect import task
from prefect.logging import get_run_logger

from blocks.estate import Site
from blocks.journal import Journal
from tasks.analysis.judge import expression, judge, triggers
from tasks.analysis.model import Decision, Sample, Verdict
from tasks.common.errors import Refused, Retryable
from tasks.common.model import Check, Metric
from tasks.common.steps import ONCE
from tasks.common.units import show_duration


@dataclass(eq=False)
class Watch:
    """What is watched, and how.

    Args:
        site: whose metrics.
        name: what this watch is about, for task names ('canary 5 %').
        metrics: by name, as the service file has them.
        checks: all must hold when the time is over.
        at_once: checks that end the watch when they are broken, at any moment.
        candidate: (slot, release) that is judged.
        stable: (slot, release) that relative checks compare with; None where there is none.
        every_s: analysis interval.
        for_s: how long to watch.
        wait_for_data_s: how much longer to wait for data that is missing.
        journal: evidence goes here.
    """

    site: Site
    name: str
    metrics: dict[str, Metric]
    checks: Sequence[Check]
    at_once: Sequence[Check]
    candidate: tuple[str, str]
    stable: tuple[str, str] | None
    every_s: float
    for_s: float
    wait_for_data_s: float
    journal: Journal

    @property
    def label(self) -> str:
        """Return 'production: watch canary 5 % for 6 s'."""
        return f"{self.site}: watch {self.name} for {show_duration(self.for_s)}"


@task(name="watch", task_run_name="{watch.label}", **ONCE)
def watch_metrics(watch: Watch) -> Verdict:
    """The candidate was watched for the whole time, and every check holds.

    Judged once an interval: a broken check ends the watch at once. Without data the watch goes on beyond its time, and
    then fails: no data is never a pass (house rule 9). *Idempotent:* yes; nothing is changed.

    Raises:
        Refused: a check is broken, or there was no data.
    """
    log = get_run_logger()
    began = time.monotonic()
    while True:
        elapsed = time.monotonic() - began
        verdict = _look(watch, max(elapsed, watch.every_s), elapsed)
        log.info("%s: %s: %s", watch.site, verdict.decision, "; ".join(verdict.reasons))
        if verdict.decision is Decision.ROLL_BACK:
            raise Refused(
                f"{watch.name} failed its checks: {'; '.join(verdict.reasons)}",
                on=str(watch.site.target),
                state=f"{watch.candidate[1][:7]} was watched for {show_duration(elapsed)}",
                next_action="read the figures in the run's summary; mend the release and run it again",
            )
        if elapsed >= watch.for_s and verdict.decision is Decision.PASS:
            return verdict
        # From look to look, not from the end of one to the next: a fault is found within an interval.
        due = elapsed + min(watch.every_s, _until_end(watch, elapsed))
        time.sleep(max(0.0, due - (time.monotonic() - began)))


def look_once(watch: Watch) -> str:
    """Return why the candidate is bad by what was measured in the last `for_s` seconds; '' if nothing says so.

    No data says nothing here: a release that waits has passed its checks before, and is looked at again.
    """
    samples = [_sample(watch, check, watch.for_s) for check in (*watch.at_once, *watch.checks)]
    verdict = triggers(samples)
    if verdict.decision is not Decision.ROLL_BACK:
        return ""
    _note(watch, verdict, samples, 0.0)
    return "; ".join(verdict.reasons)


def _until_end(watch: Watch, elapsed_s: float) -> float:
    """Return the wait until the soak's end, so that a soak that passes does not take an interval longer than asked."""
    left = watch.for_s - elapsed_s
    return left if left > 0 else watch.every_s


def _look(watch: Watch, window_s: float, elapsed_s: float) -> Verdict:
    samples = {id(check): _sample(watch, check, window_s) for check in (*watch.checks, *watch.at_once)}
    verdict = triggers([samples[id(check)] for check in watch.at_once])
    if verdict.decision is not Decision.ROLL_BACK:
        over = elapsed_s >= watch.for_s + watch.wait_for_data_s
        verdict = judge([samples[id(check)] for check in watch.checks], deadline_passed=over)
    _note(watch, verdict, list(samples.values()), elapsed_s)
    return verdict


def _note(watch: Watch, verdict: Verdict, samples: Sequence[Sample], at_s: float) -> None:
    watch.journal.note(
        "verdict",
        watch.name,
        environment=str(watch.site),
        decision=verdict.decision.value,
        reasons=list(verdict.reasons),
        samples=[_facts(sample) for sample in samples],
        at_s=round(at_s, 3),
    )


def _sample(watch: Watch, check: Check, window_s: float) -> Sample:
    metric = watch.metrics[check.metric]
    stable = _value(watch, metric, watch.stable, window_s) if watch.stable is not None else None
    return Sample(check, metric.unit, _value(watch, metric, watch.candidate, window_s), stable, datetime.now(UTC))


def _value(watch: Watch, metric: Metric, of: tuple[str, str], window_s: float) -> float | None:
    target = watch.site.target
    slot, release = of
    query = expression(
        metric.query,
        service=target.service,
        environment=target.environment,
        slot=slot,
        release=release,
        window_s=window_s,
    )
    try:
        return watch.site.metrics.query(query)
    except Retryable as problem:
        # A source that does not answer is a source without data: the judge holds, and in the end refuses.
        get_run_logger().warning("%s: no figure: %s", watch.site, problem.what)
        return None


def _facts(sample: Sample) -> dict[str, object]:
    return {
        "metric": sample.check.metric,
        "unit": sample.unit.value,
        "candidate": sample.candidate,
        "stable": sample.stable,
        "bound": sample.check.model_dump(exclude_none=True, exclude={"metric"}),
    }

"""The lab that is measured: one of its own, and what every figure does with it.

Prefect reads where its server is when it is imported, so this module is imported once `environment` has been set.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import TaskRun
from pydantic import BaseModel

from blocks.estate import OpenEstate, open_estate
from deployments import runs
from deployments.lab.lab import Lab
from tasks.common.errors import Refused, Retryable
from tasks.common.run_steps import start_run
from tasks.release.model import Outcome, ReleaseRecord
from tasks.release.request import ReleaseRequest
from tests.bench.arithmetic import COMMANDS, FlowTimes, ReleaseTimes, Task
from tests.bench.traffic import Load, read

_PAGE = 200
_RECORDED_WITHIN_S = 60.0


class Place:
    """A lab that is up, with campus's commits.

    Args:
        lab: it.
        commits: campus's commit by version.
        say: receives a line about what is being done.
    """

    def __init__(self, lab: Lab, commits: dict[str, str], say: Callable[[str], None]) -> None:
        self.lab = lab
        self.commits = commits
        self.say = say
        self.estate: OpenEstate = open_estate(str(lab.estate_file))
        self.estate.ledger.prepare()
        self.stable = ""

    def release_name(self, version: str) -> str:
        """Return a version's name, as instances carry it."""
        return self.commits[version][:12]

    def release(self, version: str, expected: Outcome = Outcome.SUCCEEDED) -> ReleaseRecord:
        """The version went through the release flow, by the worker, and ended as it must; returns its record.

        Raises:
            Refused: it ended otherwise.
        """
        request = ReleaseRequest(
            service="campus",
            commit=self.commits[version],
            estate=str(self.lab.estate_file),
            requested_by="make bench",
        )
        run_id = start_run("release", request)
        loading = self.lab.start_load()

        def listen(_line: str) -> None:
            # Before the very first release there is nothing to send requests to, and its checks need some.
            nonlocal loading
            loading = loading or self.lab.start_load()

        ended = runs.follow(run_id, listen)
        record = self.estate.ledger.record(run_id)
        if record.outcome is not expected:
            raise Refused(
                f"{version} ended as {record.outcome}, and not as {expected}",
                on=ended.name,
                state="this figure was not measured",
                next_action="find out why; the demo shows the same releases one by one",
                facts={"why": record.error or ended.message or ended.state},
            )
        if expected is Outcome.SUCCEEDED:
            self.stable = version
        return record

    def run(self, flow: str, request: BaseModel, beside: Callable[[str], None] = lambda _: None) -> FlowTimes:
        """A flow was run by the worker, and has ended well; returns its times.

        Args:
            flow: its name.
            request: what is asked for.
            beside: called with the run's id as soon as it is known, while it runs.

        Raises:
            Refused: it did not end well.
        """
        run_id = start_run(flow, request)
        beside(run_id)
        ended = runs.follow(run_id, lambda _: None)
        if not ended.completed:
            raise Refused(
                f"a run of {flow} ended as {ended.state}",
                on=ended.name,
                state="this figure was not measured",
                next_action="read what it says below",
                facts={"why": ended.message},
            )
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(UUID(run_id))
        assert run.created and run.start_time and run.end_time, "its run has ended"
        tasks = sorted(_task_runs(run_id), key=lambda each: each.start_time or each.created or run.end_time)
        found = tuple(Task(each.name, each.total_run_time.total_seconds()) for each in tasks)
        return FlowTimes(run.created, run.start_time, run.end_time, found)

    def have(self, *versions: str) -> None:
        """Each version was released at least once, and the last one named is stable. *Idempotent:* yes."""
        for version in versions[:-1]:
            done = self.estate.ledger.succeeded("campus", "production", self.estate.file.keep_releases)
            if self.release_name(version) not in {record.release for record in done}:
                self.say(f"{version} is released, so that it is kept")
                self.release(version)
        if self.stable != versions[-1]:
            self.say(f"{versions[-1]} is released, so that it is stable")
            self.release(versions[-1])

    def start_load(self) -> None:
        """Load is sent to production, counted from now on. *Idempotent:* no; what was counted is forgotten."""
        self.lab.stop_load()
        self.lab.load_file.unlink(missing_ok=True)
        self.lab.start_load()

    def end_load(self) -> Load:
        """No load is sent any more; returns what users got since it was started."""
        self.lab.stop_load()
        load = read(self.lab.load_file)
        # A load generator does not start while the lines of another one are there.
        self.lab.load_file.unlink()
        return load

    def times(self, version: str, record: ReleaseRecord) -> ReleaseTimes:
        """Return a release's times, from Prefect and from the ledger."""
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(UUID(record.id))
        assert run.created and run.start_time and run.end_time, "its run has ended"
        tasks = [Task(task.name, task.total_run_time.total_seconds()) for task in _task_runs(record.id)]
        commands_s: defaultdict[str, float] = defaultdict(float)
        for item in self.estate.ledger.evidence(record.id):
            if item.kind in COMMANDS:
                commands_s[item.kind] += item.duration_s or 0.0
        return ReleaseTimes(version, run.created, run.start_time, run.end_time, tuple(tasks), dict(commands_s))


def _task_runs(run_id: str) -> list[TaskRun]:
    """Return a run's tasks, once the server has the end of every one: it takes them in behind the run."""
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run_id)]))
    deadline = time.monotonic() + _RECORDED_WITHIN_S
    before = -1
    while True:
        found: list[TaskRun] = []
        with get_client(sync_client=True) as client:
            while page := client.read_task_runs(flow_run_filter=wanted, limit=_PAGE, offset=len(found)):
                found += page
        if len(found) == before and all(task.end_time for task in found):
            return found
        if time.monotonic() > deadline:
            raise Retryable(
                "the Prefect server does not have the end of every task",
                on=run_id,
                next_action="read the log of its server",
            )
        before = len(found)
        time.sleep(0.5)

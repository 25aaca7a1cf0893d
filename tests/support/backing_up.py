"""The flow `backup` in a process of its own, which kills itself with -9 where it is told to. Run as `python -m`."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from blocks import DRIVERS, driver_class
from flows.backup import backup
from tasks.backup.request import BackupRequest
from tasks.common.backups import FIRST, BackupKind, OnProgress, Progress, StoredBackup
from tests.support.docs import ROOT

MOMENTS = ("in the take", "after the take", "in the expiry")


def killed(estate: Path, plan: str, driver: str, moment: str, api: str) -> None:
    """A run of the flow was killed at the moment."""
    argv = [sys.executable, "-m", "tests.support.backing_up", str(estate), plan, driver, moment]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": api}
    ended = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert ended.returncode == -signal.SIGKILL, ended.stdout + ended.stderr


def main() -> None:
    """Run the flow with an engine that kills the process."""
    estate, plan, driver, moment = sys.argv[1:]
    assert moment in MOMENTS
    engine = driver_class("backup", driver)

    class Dying(engine):  # type: ignore[misc,valid-type]
        def take(self, kind: BackupKind, on_progress: OnProgress, repository: int = FIRST) -> StoredBackup:
            def show(progress: Progress) -> None:
                on_progress(progress)
                _die(moment == "in the take")

            stored: StoredBackup = super().take(kind, show, repository)
            _die(moment == "after the take")
            return stored

        def expire(self, labels: Sequence[str], repository: int = FIRST) -> None:
            # The newest first: nothing that is left needs it.
            super().expire(sorted(labels)[-1:], repository)
            _die(moment == "in the expiry")

    sys.modules["tests.support.backing_up"] = sys.modules[__name__]
    globals()["Dying"] = Dying
    DRIVERS["backup"][driver] = "tests.support.backing_up:Dying"
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        backup(BackupRequest(plan=plan, estate=str(estate)))


def _die(now: bool) -> None:
    if now:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()

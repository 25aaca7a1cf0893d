"""A flow that says which process it is, and stands until it may go on."""

import os
import time
from pathlib import Path

from prefect import flow

ENTRYPOINT = "tests.support.standing_flow.stand"
WITHIN_S = 120.0


@flow(name="stand")
def stand(folder: str) -> None:
    """The file `pid` in the folder has this process and its parent; the flow ends when there is a file `go`."""
    new = Path(folder, "pid.new")
    new.write_text(f"{os.getpid()} {os.getppid()}")
    new.replace(Path(folder, "pid"))
    deadline_s = time.monotonic() + WITHIN_S
    while not Path(folder, "go").exists():
        assert time.monotonic() < deadline_s, "nobody lets it go on"
        time.sleep(0.02)

"""The release flow up to its first line: what the figure `push` starts in place of all of it.

It has the name, the form and the imports of `flows.release.release`, and is deployed to the same pool with the same
command.
"""

import json
import os
import time
from pathlib import Path

from prefect import flow

from flows import release as real
from tasks.release.request import ReleaseRequest

ENTRYPOINT = "tests.bench.first_line.release"


@flow(name=real.release.name, flow_run_name=real.release.flow_run_name)
def release(request: ReleaseRequest) -> None:
    """Write down when this line was reached, and when the process was there."""
    now_s = time.time()
    folder = marks(Path(os.environ["SLIPWAY_ESTATE"]))
    new = folder / f"{request.commit}.new"
    new.write_text(json.dumps({"first_line_s": now_s, "process_s": _process_began_s()}))
    new.replace(folder / f"{request.commit}.json")


def marks(estate_file: Path) -> Path:
    """Return the folder where runs write."""
    return estate_file.with_name("first-lines")


def _process_began_s() -> float:
    """Return when this process was forked, to 10 ms. *Source:* proc(5), /proc/[pid]/stat: starttime, in clock ticks."""
    after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    since_boot_s = int(after_name[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot_s

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.memory import bytes_of, ours_below

LARGE = "kept = b'x' * (60 * 2**20); print('there', flush=True); input()"


@contextmanager
def started(*argv: str) -> Iterator[int]:
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"there\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def test_python_processes_below_a_flow_count_and_other_programs_do_not() -> None:
    with started(sys.executable, "-c", LARGE) as python, started("sh", "-c", "echo there; read line") as shell:
        below = ours_below(os.getpid())
        assert python in below
        assert shell not in below
        assert os.getpid() not in below


def test_memory_of_a_process_is_what_it_holds_and_none_once_it_has_ended() -> None:
    with started(sys.executable, "-c", LARGE) as python:
        assert 60 * 2**20 < bytes_of(python, "status", "VmHWM") < 120 * 2**20
        assert 60 * 2**20 < bytes_of(python, "smaps_rollup", "Pss") < 120 * 2**20
    assert bytes_of(python, "status", "VmHWM") == 0

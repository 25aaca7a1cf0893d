"""How the suite is shared between processes: nothing else would notice that it has become slow."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.support.sharing import LABS, SECONDS, Sharing

TESTS = Path(__file__).resolve().parents[1]
STORIES = {f"acceptance/test_{name}.py" for names in LABS.values() for name in names}


def test_every_story_of_a_lab_is_told_by_one_of_the_processes_that_have_one() -> None:
    asking = {path for path in TESTS.rglob("test_*.py") if re.search(r"\blab: LabPlace\b", path.read_text())}
    assert {path.relative_to(TESTS).as_posix() for path in asking} == STORIES


def test_what_is_known_to_take_long_is_there() -> None:
    assert [unit for unit in SECONDS if unit not in LABS and not (TESTS.parent / unit).is_file()] == []


@dataclass(eq=False)
class FakeProcess:
    """Stands for one of xdist's processes: keeps what it was given."""

    given: list[int] = field(default_factory=list)
    shutting_down: bool = False
    gateway: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(id="gw"))

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def shared(tests: list[str], processes: int) -> list[list[str]]:
    """Return which tests each of so many fake processes begins with, as no test ever ends."""
    option = SimpleNamespace(loadscopereorder=True)
    config: Any = SimpleNamespace(option=option, getvalue=lambda name: ["popen"] * processes, getini=lambda name: [])
    sharing, nodes = Sharing(config), [FakeProcess() for _ in range(processes)]
    for node in nodes:
        sharing.add_node(node)  # type: ignore[arg-type]
    for node in nodes:
        sharing.add_node_collection(node, tests)  # type: ignore[arg-type]
    sharing.schedule()
    return [[tests[index] for index in node.given] for node in nodes]


def test_stories_of_a_lab_stay_together_and_are_begun_before_files_with_more_tests() -> None:
    story, other = (f"tests/acceptance/test_{name}.py" for name in LABS["one lab"][:2])
    quick = [f"tests/unit/test_quick.py::test_{number}" for number in range(9)]
    told = [f"{story}::test_a", f"{story}::test_b", f"{other}::test_c"]
    assert shared([*quick, *told], 2) == [told, quick]


def test_file_with_most_tests_comes_first_where_no_time_is_known() -> None:
    few, many = ([f"tests/unit/test_{name}.py::test_{number}" for number in range(9)] for name in ("few", "many"))
    assert shared([*few[:4], *many], 2) == [many, few[:4]]

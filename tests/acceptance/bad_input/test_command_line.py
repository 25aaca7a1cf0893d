"""Wrong files met on the command line: exit code 2, the whole block, and nothing touched."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.support.repositories import Repo
from tests.unit.common.test_forty_wrong_files import WRONG

pytestmark = pytest.mark.server
ROOT = Path(__file__).parents[3]
MEMORY = {"driver": "memory"}


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it printed for people."""

    exit_code: int
    out: str
    err: str


def slipway(folder: Path, *arguments: str) -> Said:
    """Run the real command line, which knows no lab and no server."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "SLIPWAY"))}
    done = subprocess.run(
        [sys.executable, "-m", "deployments.cli", *arguments],
        cwd=ROOT,
        env={**known, "SLIPWAY_VAR": str(folder / "var"), "PREFECT_HOME": str(folder / "prefect"), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def left_in(folder: Path) -> set[str]:
    """Return what lies in a folder, but for what Prefect keeps for itself."""
    return {path.name for path in folder.iterdir()} - {"prefect"}


def block(on: str, wrong: Path, name: str, reference: str) -> str:
    """Return the block that a wrong file is refused with."""
    lines = wrong.with_suffix(".txt").read_text().splitlines()
    count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    indented = "\n            ".join(f"{name}:{line}" for line in lines)
    return (
        f"Refused: {name} has {count}\n"
        f"  on:       {on}\n"
        "  state:    nothing was changed\n"
        "  next:     correct what is listed, then run the same command again "
        f"(docs/reference/{reference} explains every key)\n"
        f"  mistakes: {indented}\n"
    )


ESTATES = [
    ("release campus main", "preflight"),
    ("plan campus main", "unknown-drivers"),
    ("status", "secrets-in-the-clear"),
    ("releases list", "tabs"),
    ("rollback campus", "empty-environments"),
]


@pytest.mark.parametrize(("command", "case"), ESTATES, ids=[case for _, case in ESTATES])
def test_wrong_estate_file_ends_a_command_with_all_its_mistakes(tmp_path: Path, command: str, case: str) -> None:
    wrong = WRONG / "estate" / f"{case}.yaml"
    file = tmp_path / "estate.yaml"
    file.write_bytes(wrong.read_bytes())
    said = slipway(tmp_path, *command.split(), "--estate", str(file))
    assert (said.exit_code, said.out) == (2, "")
    assert said.err == block(str(file), wrong, "estate.yaml", "estate-file.md")
    assert left_in(tmp_path) == {"estate.yaml"}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"estate: lab\n\xff\xfe", "the estate file is no text: line 2 is not UTF-8"),
        (b"description: " + b"x" * 2**20, "estate.yaml has 1 mistake"),
        (b"- estate: lab\n", "estate.yaml has 1 mistake"),
    ],
    ids=["no text", "a megabyte", "a list"],
)
def test_estate_file_that_is_none_ends_a_command_without_a_traceback(tmp_path: Path, content: bytes, what: str) -> None:
    file = tmp_path / "estate.yaml"
    file.write_bytes(content)
    said = slipway(tmp_path, "status", "--estate", str(file))
    assert (said.exit_code, said.out) == (2, "")
    assert said.err.startswith(f"Refused: {what}\n  on:")
    assert str(file) in said.err
    assert len(said.err) < 2000


def test_folder_in_place_of_an_estate_file_is_refused(tmp_path: Path) -> None:
    said = slipway(tmp_path, "status", "--estate", str(tmp_path))
    assert said.exit_code == 2
    assert said.err.startswith("Refused: the estate file cannot be read: Is a directory\n")


SERVICES = ["gates-that-ask-for-what-is-not-there", "secrets-in-the-clear", "alias-bomb"]


@pytest.mark.parametrize("case", SERVICES)
def test_wrong_service_file_ends_a_plan_with_all_its_mistakes(tmp_path: Path, case: str) -> None:
    wrong = WRONG / "service" / f"{case}.yaml"
    commit = Repo(tmp_path / "campus").commit("Add it", {"slipway.yaml": wrong.read_text()})
    environment = {"url": "http://127.0.0.1:1", "replicas": 1, "runtime": MEMORY, "router": MEMORY, "metrics": MEMORY}
    estate = {
        "estate": "lab",
        "workspace": "work",
        "ledger": MEMORY,
        "store": MEMORY,
        "environments": {"production": environment},
        "services": {"campus": {"repository": "campus"}},
    }
    file = tmp_path / "estate.yaml"
    file.write_text(yaml.safe_dump(estate))
    said = slipway(tmp_path, "plan", "campus", "main", "--estate", str(file))
    assert (said.exit_code, said.out) == (2, "")
    name = f"slipway.yaml of {commit[:7]}"
    assert said.err == block(name, wrong, name, "service-file.md")
    assert left_in(tmp_path) <= {"estate.yaml", "campus", "work"}
    assert list((tmp_path / "work").rglob("runs")) == []

"""`slipway restore` as people call it, with a ledger on PostgreSQL; nothing is restored here."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.following import exit_of
from deployments.terminal import Exit
from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe
from tasks.restore.model import BroughtBack
from tests.integration.test_backups_command import ESTATE
from tests.support.catalogue import entry
from tests.support.ledger import open_ledger
from tests.support.processes import short_folder

pytestmark = pytest.mark.server
PLANS = """
backups:
  campus-db:
    engine: {driver: memory, world: test-restore, form: cluster}
    objectives: {rto: 15m, rpo: 5m}
    targets:
      spare:
        server: {driver: postgresql, data: spare, port: 9}
"""


@pytest.fixture
def estate(database_url: str) -> Iterator[Path]:
    """An estate whose catalogue has one backup, of an hour ago. The target's socket needs a short path."""
    with short_folder() as folder:
        (folder / "estate.yaml").write_text(ESTATE + PLANS)
        ledger = open_ledger(folder, database_url)
        ledger.prepare()
        ledger.catalogue.add(entry(datetime.now(UTC) - timedelta(hours=1)))
        yield folder / "estate.yaml"


@pytest.fixture
def say(estate: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return what calls the command, in this process, and returns what was printed; its own errors are raised."""
    monkeypatch.setenv("SLIPWAY_VAR", str(estate.parent / "var"))
    monkeypatch.setenv("SLIPWAY_ESTATE", "")

    def call(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["restore", *arguments, "--estate", str(estate)])
        if done.exception is not None:
            raise done.exception
        return done.output

    return call


def test_plan_names_the_steps_and_changes_nothing(say: Callable[..., str], estate: Path) -> None:
    said = say("campus-db", "--to", "spare", "--plan")
    assert " 1. start from campus-db/1/" in said
    assert "4. start it on 127.0.0.1:9, and see that it answers" in said
    assert "never restored before" in said
    assert json.loads(say("campus-db", "--to", "spare", "--plan", "--json"))["steps"][1] == (
        "fetch the backup into the data folder"
    )
    assert not list(estate.parent.glob("spare*"))


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (("--to", "sapre"), "has no target 'sapre'"),
        (("--to", "spare", "--at", "2026-11-22 13:37"), "no point in time with its zone"),
        (("--to", "spare", "--at", "tomorrow"), "no point in time with its zone"),
        (("--to", "spare", "--backup", "campus-db/1/x", "--plan"), "has no backup 'campus-db/1/x'"),
    ],
)
def test_what_cannot_be_restored_is_refused_before_a_run_is_started(
    say: Callable[..., str], asked: tuple[str, ...], why: str
) -> None:
    with pytest.raises(Refused, match=why):
        say("campus-db", *asked)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (BroughtBack, Exit.ROLLED_BACK),
        (Refused, Exit.REFUSED),
        (Unsafe, Exit.UNSAFE),
        (Retryable, Exit.NOT_REACHABLE),
    ],
)
def test_end_of_a_run_is_told_by_the_exit_code(kind: type[SlipwayError], code: Exit) -> None:
    assert exit_of(kind("it failed", on="here", next_action="look").block()) is code
    assert exit_of("it was killed") is Exit.FAILED

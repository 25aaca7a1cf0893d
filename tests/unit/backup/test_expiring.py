"""A plan of retention is one that an engine carries out, and what is left can be restored."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.memory.backups import CONTENT, MemoryBackups, MemoryEngine
from blocks.memory.catalogue import MemoryCatalogue
from tasks.backup.retention import plan_retention
from tasks.common.backup_plans import Retention
from tasks.common.backups import FIRST, BackupKind, Entry, RestoreTo, backup_id
from tasks.common.errors import Refused
from tests.support.catalogue import PLAN, verification

FEW = Retention(hourly=1, daily=1, weekly=0, monthly=0, minimum=1)


class Place:
    """An engine, and the catalogue of what it has taken."""

    def __init__(self, folder: Path) -> None:
        self.world = MemoryEngine.worlds["expiring"] = MemoryBackups()
        self.engine = MemoryEngine(MemoryEngine.Settings(world="expiring"), Context(base=folder))
        self.catalogue = MemoryCatalogue()
        self.lines: dict[str, str] = {}

    def take(self, kind: BackupKind) -> Entry:
        self.world.write(f"line {len(self.lines)}")
        stored = self.engine.take(kind, lambda progress: None)
        self.lines[stored.label] = "".join(f"{text}\n" for _, text in self.world.lines)
        made = Entry(backup_id(PLAN, FIRST, stored.label), PLAN, "memory", FIRST, stored, "sha256:0", "run-1")
        self.catalogue.add(made)
        return made

    def expire(self) -> int:
        """What the plan drops is gone from the repository and from the catalogue; returns how many."""
        now = datetime.now(UTC)
        drop = [each for each in plan_retention(self.catalogue.entries(PLAN), FEW, now) if not each.keep]
        self.engine.expire([each.entry.stored.label for each in drop])
        for each in drop:
            self.catalogue.expired(each.entry.id, each.reason, "run-1", now)
        return len(drop)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    yield Place(tmp_path)
    del MemoryEngine.worlds["expiring"]


@pytest.mark.parametrize("seed", range(20))
def test_engine_carries_out_every_plan_and_all_that_is_left_restores(place: Place, seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    place.take(BackupKind.FULL)
    for number in range(12):
        made = place.take(chance.choice(list(BackupKind)))
        if chance.random() < 0.2:
            place.catalogue.note(verification(made, run_id=f"v{number}", ended_at=datetime.now(UTC)))
        if chance.random() < 0.1:
            place.catalogue.hold(made.id, "audit", "ada", datetime.now(UTC))
        if chance.random() < 0.3:
            place.expire()
    place.expire()
    assert place.expire() == 0
    there = {each.stored.label for each in place.catalogue.entries(PLAN)}
    assert len(there) < len(place.lines)
    assert there == {each.label for each in place.engine.stored()}
    for label in there:
        place.engine.restore(RestoreTo(label, backup_only=True), tmp_path / label, lambda progress: None)
        assert (tmp_path / label / CONTENT).read_text() == place.lines[label]


def test_engine_refuses_a_plan_that_forgets_what_others_need(place: Place) -> None:
    """The planted fault for the test above."""
    full = place.take(BackupKind.FULL)
    place.take(BackupKind.INCREMENTAL)
    with pytest.raises(Refused):
        place.engine.expire([full.stored.label])

"""Drills in the lab's two sites."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import yaml

from blocks.drills.ids import TABLE
from blocks.estate import OpenEstate, open_estate
from deployments.lab.sites import estate
from flows.drill import drill
from tasks.drill.request import DrillRequest
from tests.support.drill_place import Practised
from tests.support.prefect_server import flows_of
from tests.support.sites import Sites


@dataclass(frozen=True)
class SitePlace:
    """An estate with the database of site A, and the documented drills.

    Args:
        folder: for what drills leave behind.
        sites: both of them.
        api: of a Prefect server.
        secrets: that must not be in what drills say.
    """

    folder: Path
    sites: Sites
    api: str
    secrets: Sequence[str]

    @property
    def file(self) -> Path:
        return self.folder / "estate.yaml"

    @property
    def journal(self) -> Path:
        return self.folder / "drills" / "journal"

    def describe(self, **drills: Any) -> None:
        """The estate file has site A's database; what is given takes the place of its settings of drills."""
        wanted = estate.whole(self.sites.lab)
        wanted["drills"].update(drills)
        self.file.write_text(yaml.safe_dump(wanted))

    def open(self) -> OpenEstate:
        return open_estate(str(self.file))

    def practise(self, name: str, **asked: Any) -> Practised:
        with flows_of(self.api):
            request = DrillRequest(drill=name, estate=str(self.file), **asked)
            return Practised(self, drill(request, return_state=True))

    def facts(self, ran: Practised, number: int = 1) -> Mapping[str, Any]:
        """Return what is on record of a round."""
        return self.rounds(ran)[number]

    def rounds(self, ran: Practised) -> Mapping[int, Mapping[str, Any]]:
        """Return what is on record of every round, by its number, which is among it."""
        notes = self.open().ledger.drills.notes(ran.id)
        return {each.number: {**each.facts, "number": each.number} for each in notes if each.kind == "round"}

    @property
    def evidence_folder(self) -> Path:
        return self.folder / "drills" / "evidence"

    def evidence(self, ran: Practised) -> Path:
        return self.evidence_folder / ran.id

    def lose(self, run: str, ending: str) -> set[str]:
        """Rows of the drill's client whose ids end with a digit are deleted where they are; returns their ids."""
        leader = self.sites.leader("a")
        with psycopg.connect(self.sites.lab.dsn(leader), autocommit=True) as session:
            found = session.execute(
                # Not the newest: a reader asks for that one.
                f"delete from {TABLE} where starts_with(id, %s) and right(id, 1) = %s "
                "and at < clock_timestamp() - interval '2 s' returning id",
                [run, ending],
            )
            return {row[0] for row in found}

"""Drills over the lab's real sites: an estate file of its own for each place, and runs of the flow."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from deployments.lab.sites import estate
from deployments.lab.sites.topology import MEMBERS
from tasks.common.drill_notes import ROUND
from tests.support.drill_place import Practised, RunPlace
from tests.support.processes import quick_folder, wait_until
from tests.support.sites import Sites


class BrokenSites(RunPlace):
    """An estate whose site A is practised on, and the drills that a test describes."""

    def __init__(self, folder: Path, sites: Sites, ledger: str, api: str) -> None:
        lab = sites.lab
        self.sites = sites
        names = ("campus", "postgres", "replicator", "observer", "slipway")
        super().__init__(folder, api, tuple(lab.secret(name) for name in names))
        (folder / "ledger").write_text(ledger)
        self.describe()

    def describe(self, *, sections: dict[str, Any] | None = None, **cluster: Any) -> None:
        """The estate file has the lab, with keys of the cluster over the usual ones, and sections over the usual."""
        usual = estate.whole(self.sites.lab, f"file:{self.folder / 'ledger'}")
        drills = usual["drills"]
        drills["experiments"] = "drills"
        drills["clusters"][estate.COPY].update(cluster)
        wanted = {**usual, **(sections or {})}
        (self.folder / "estate.yaml").write_text(yaml.safe_dump(wanted))

    def use(self, name: str, **over: Any) -> None:
        """The example of that name is among the estate's drills, with keys over its own."""
        found = yaml.safe_load((estate.EXAMPLES / f"{name}.yaml").read_text())
        # To plain YAML 1.1, 'on' is a truth value.
        found["fault"] = {"on" if key is True else key: value for key, value in found["fault"].items()}
        self.write({**found, **over})

    def facts(self, ran: Practised) -> Mapping[str, Any]:
        """Return what is on record of the only round."""
        (found,) = [each.facts for each in self.open().ledger.drills.notes(ran.id) if each.kind == ROUND]
        return found

    @property
    def leader(self) -> str:
        return self.sites.leader("a")

    def wait_whole(self) -> None:
        """Site A has a leader, and every node of both sites is well."""
        for name in MEMBERS["a"]:
            with contextlib.suppress(Exception):
                self.sites.lab.start_host(name)
        self.sites.wait_whole()


@contextlib.contextmanager
def broken_sites(sites: Sites, ledger: str, api: str) -> Iterator[BrokenSites]:
    """A place whose drills are on site A; nothing is left in its undo journal."""
    with quick_folder() as folder:
        place = BrokenSites(folder, sites, ledger, api)
        yield place
        wait_until(lambda: place.undo_journal.entries() == ((), ()), what="an empty undo journal", within_s=60)

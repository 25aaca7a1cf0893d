"""The backup plans that the figures are measured with: one for each engine, in an estate file beside the lab's own."""

from pathlib import Path
from typing import Any

import pyrage
import yaml

from deployments.lab.lab import Lab
from tests.bench.source import DATABASE, Source
from tests.support.postgresql import SUPERUSER

ENGINES = ("pgbackrest", "pg-basebackup", "pg-dump")
"""The plans, by the names of their engines; the first is the default engine."""
PROVEN = ENGINES[0]
"""The plan whose backups are verified."""
_ONE = {"hourly": 0, "daily": 0, "weekly": 0, "monthly": 0, "minimum": 1}
# The second expectation fails in every row there is: all of them would have to be kept to tell of all.
_SUITE = {
    "table": "pgbench_accounts",
    "expectations": [
        {"type": "expect_column_values_to_not_be_null", "column": "bid"},
        {"type": "expect_column_values_to_be_in_set", "column": "bid", "value_set": [-1], "severity": "warning"},
        {"type": "expect_column_values_to_be_between", "column": "aid", "min_value": 1},
    ],
}


class Plans:
    """Estate files that have the lab's servers and the plans.

    Args:
        lab: whose estate file they start from.
        source: what is backed up.
    """

    def __init__(self, lab: Lab, source: Source) -> None:
        folder = source.folder / "plans"
        (folder / "expectations").mkdir(parents=True)
        (folder / "expectations" / "accounts.yaml").write_text(yaml.safe_dump(_SUITE))
        identity = pyrage.x25519.Identity.generate()
        (folder / "identity").write_text(str(identity))
        proof: dict[str, Any] = {
            "database": {"driver": "postgresql", "address": f"file:{source.folder}/address"},
            "scratch": {"driver": "postgresql", "folder": str(source.folder / "rooms"), "superuser": SUPERUSER},
            "name": DATABASE,
        }
        plans = {name: _plan(each) for name, each in _engines(source, folder, str(identity.to_public())).items()}
        name = source.folder.name
        self.file = _write(lab, name, {**plans, PROVEN: {**plans[PROVEN], "verification": proof}})
        proof = {**proof, "expectations": str(folder / "expectations")}
        self.expecting = _write(lab, f"{name}-expecting", {**plans, PROVEN: {**plans[PROVEN], "verification": proof}})
        """The same, and copies must meet a suite of expectations."""


def _write(lab: Lab, name: str, plans: dict[str, Any]) -> Path:
    file = lab.estate_file.with_name(f"{name}.yaml")
    file.write_text(yaml.safe_dump(yaml.safe_load(lab.estate_file.read_text()) | {"backups": plans}))
    return file


def _plan(engine: dict[str, Any]) -> dict[str, Any]:
    return {"engine": engine, "retention": _ONE, "objectives": {"rto": "1h", "rpo": "24h"}}


def _engines(source: Source, folder: Path, recipient: str) -> dict[str, dict[str, Any]]:
    here, cluster = str(source.folder), source.cluster
    signed_in = {"port": cluster.port, "role": SUPERUSER, "password": f"file:{here}/password"}
    return {
        "pgbackrest": {
            "driver": "pgbackrest",
            "stanza": source.stanza,
            "folder": str(source.config.parent),
            "data": str(cluster.data),
            "socket_dir": f"{here}/sockets",
            "repositories": [{"path": f"{here}/pgbackrest"}],
            **signed_in,
        },
        "pg-basebackup": {"driver": "pg_basebackup", "repositories": [f"{here}/pg_basebackup"], **signed_in},
        "pg-dump": {
            "driver": "pg_dump",
            "database": f"file:{here}/address",
            "repositories": [f"{here}/pg_dump"],
            "recipients": [recipient],
            "identity": f"file:{folder}/identity",
        },
    }

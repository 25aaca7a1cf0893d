"""The documented experiments, and clusters for them."""

from typing import Any

from blocks import DRIVERS
from blocks.estate import settings_model
from tasks.common.drills import DrillCluster, Drills, Experiment
from tasks.common.load import load_experiment
from tests.unit.common.files import EXAMPLES

FOLDER = EXAMPLES / "drills"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
SYSTEM_ID = "7312345678901234567"
FACTS = {"data": "/srv/{0}/data", "patroni": "/srv/{0}", "mount": "/srv/{0}", "namespace": "{0}", "ip": "10.0.0.{0}"}


def load(text: str, name: str = "drill.yaml") -> Experiment:
    return load_experiment(text, name, settings_model, DRIVERS)


def text(name: str, *changes: tuple[str, str]) -> str:
    """Return a documented experiment, each change made exactly once."""
    found = (FOLDER / f"{name}.yaml").read_text()
    for old, new in changes:
        assert found.count(old) == 1, f"{old!r} stands {found.count(old)} times in {name}"
        found = found.replace(old, new)
    return found


def experiment(name: str = "node-lost", *changes: tuple[str, str]) -> Experiment:
    return load(text(name, *changes))


def cluster(**more: Any) -> DrillCluster:
    nodes = {
        name: {"address": f"env:{name}", "facts": {key: value.format(name) for key, value in FACTS.items()}}
        for name in ("a1", "a2", "a3")
    }
    data = {
        "id": SYSTEM_ID,
        "address": "env:DATABASE",
        "nodes": nodes,
        "facts": {
            "etcd": "10.0.1.1",
            "router": "10.0.2.1",
            "port_1": "1",
            "port_2": "2",
            "port_3": "3",
            "switch": "sw",
            "link": "edge-a.a",
            "dsn_file": "/srv/dsn",
            "quiet_table": "archived",
        },
        "objectives": {"rto": "1m", "rpo": "0s"},
        **more,
    }
    return DrillCluster.model_validate(data)


def drills(**more: Any) -> Drills:
    return Drills.model_validate(
        {"clusters": {"campus-copy": cluster().model_dump(mode="json", by_alias=True)}, **more}
    )

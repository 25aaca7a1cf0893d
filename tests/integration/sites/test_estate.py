"""The estate file that the lab writes for its two sites: it loads, its ledger answers, and what it says is there."""

import pytest
from psycopg.conninfo import conninfo_to_dict

from blocks.estate import open_estate
from deployments.lab.sites import estate
from deployments.lab.sites.topology import DATABASE_NAME, MEMBERS
from deployments.planning_move import plan_move
from tasks.common.drills import DrillCluster
from tasks.failover.request import MoveRequest
from tests.support.sites import Sites

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]


def test_lab_describes_itself(sites: Sites) -> None:
    file = str(estate.write(sites.lab))
    opened = open_estate(file)
    opened.ledger.prepare()
    planned = plan_move("switchover", MoveRequest(failover="campus", to=estate.region("b"), estate=file))
    assert planned.what == "switchover from site-a to site-b"
    assert planned.remarks[0].startswith("lost: nothing"), planned.remarks
    assert opened.file.drills is not None
    copy = opened.file.drills.clusters[estate.COPY]
    assert _has_all_facts(copy) and copy.id == sites.cluster("a").observe().system_id
    users = conninfo_to_dict(opened.context.secrets.resolve(str(copy.address)))
    assert (users["host"], users["hostaddr"]) == (DATABASE_NAME, sites.edge("a"))


def _has_all_facts(copy: DrillCluster) -> bool:
    wanted = {"data", "mount", "patroni", "namespace", "link", "ip"}
    nodes = {name: set(node.facts) for name, node in copy.nodes.items()}
    return nodes == dict.fromkeys(MEMBERS["a"], wanted) and set(copy.facts) == {"etcd", "router"}

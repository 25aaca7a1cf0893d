"""How the suite is shared between processes: what takes long is begun first, and the stories of one lab stay together.

xdist alone begins with the files that have most tests, which are quick ones: the last file would keep one process busy
for minutes, while the others have nothing left to do. And stories that another process tells than those before them
would need a lab, and releases, of their own.
"""

from collections.abc import Mapping

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

LABS: Mapping[str, tuple[str, ...]] = {
    "one lab": ("release", "backed_up", "rollback", "by_the_clock", "lab_servers", "interrupted", "approval"),
    "another lab": ("approval_faults", "reconcile"),
}
"""Stories that are told in one lab, as parts of the names in tests/acceptance; in the order of its conftest.py."""
SECONDS: Mapping[str, float] = {
    "another lab": 900,
    "one lab": 800,
    "tests/contract/test_cluster.py": 300,
    "tests/integration/sites/test_move_faults.py": 700,
    "tests/integration/sites/test_move_killed.py": 600,
    "tests/integration/sites/test_faults.py": 300,
    "tests/integration/sites/test_drills.py": 700,
    "tests/integration/sites/test_drills_killed.py": 900,
    "tests/integration/sites/test_drills_storage.py": 400,
    "tests/integration/sites/test_drill_site_lost.py": 300,
    "tests/integration/sites/test_drill_all_data_lost.py": 400,
    "tests/integration/sites/test_drills_abandoned.py": 400,
    "tests/integration/sites/test_drills_refused.py": 120,
    "tests/integration/test_drill_application.py": 180,
    "tests/integration/test_drill_mistake.py": 150,
    "tests/integration/sites/test_move_commands.py": 250,
    "tests/integration/sites/test_move_flows.py": 190,
    "tests/integration/sites/test_moves.py": 150,
    "tests/integration/sites/test_estate.py": 60,
    "tests/integration/test_receive.py": 140,
    "tests/integration/sites/test_campus_at_sites.py": 60,
    "tests/acceptance/bad_input/test_faults.py": 100,
    "tests/integration/migration/test_scenarios_columns.py": 80,
    "tests/integration/migration/test_scenarios_rules.py": 60,
    "tests/integration/test_worker_service.py": 90,
    "tests/integration/migration/test_refusals.py": 60,
    "tests/integration/migration/test_pagila_payments.py": 70,
    "tests/integration/migration/test_pagila_columns.py": 40,
    "tests/integration/migration/test_partitions_flow.py": 55,
    "tests/integration/migration/test_partitions.py": 30,
    "tests/integration/migration/test_apply.py": 60,
    "tests/integration/migration/test_flow.py": 60,
    "tests/integration/migration/test_with_releases.py": 130,
    "tests/integration/migration/test_health.py": 60,
    "tests/contract/test_migration_target.py": 40,
    "tests/integration/migration/test_mongodb_faked_by_mongomock.py": 30,
    "tests/integration/test_watch.py": 80,
    "tests/integration/test_failover_flow.py": 60,
    "tests/integration/test_apply.py": 80,
    "tests/integration/test_left_out.py": 70,
    "tests/integration/test_scanners.py": 70,
    "tests/acceptance/bad_input/test_second_release.py": 65,
    "tests/acceptance/bad_input/test_command_line.py": 60,
    "tests/integration/test_several_servers.py": 60,
    "tests/acceptance/bad_input/test_refused.py": 45,
    "tests/acceptance/bad_input/test_gates.py": 45,
    "tests/integration/test_leases.py": 45,
    "tests/integration/test_drill_flow.py": 150,
    "tests/integration/test_drill_client.py": 45,
    "tests/integration/test_recover_flow.py": 60,
    "tests/integration/test_rds_cluster.py": 45,
    "tests/integration/test_reaper.py": 35,
    "tests/contract/test_fault.py": 35,
    "tests/integration/test_announcing.py": 40,
    "tests/integration/test_campus.py": 40,
    "tests/acceptance/bad_input/test_full_disk.py": 35,
    "tests/acceptance/bad_input/test_planted_secrets.py": 35,
    "tests/acceptance/test_check.py": 30,
    "tests/integration/haproxy/test_traffic.py": 30,
    "tests/integration/test_server_setup.py": 30,
    "tests/integration/test_campus_versions.py": 30,
    "tests/integration/test_alarms.py": 20,
}
"""How long what takes longest keeps a process busy, about. A figure that is out of date costs nothing but time."""
_LAB_OF = {f"tests/acceptance/test_{name}.py": lab for lab, names in LABS.items() for name in names}


class Sharing(LoadFileScheduling):
    """Gives a process a file, or all stories of a lab: the longest that is left, else that with most tests."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        return _LAB_OF.get(file, file)

    def _assign_work_unit(self, node: WorkerController) -> None:
        longest = max(self.workqueue, key=lambda unit: SECONDS.get(unit, 0.0))
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)

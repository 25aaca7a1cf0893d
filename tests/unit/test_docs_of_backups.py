"""The settings in the pages about backups are ones that the drivers and the flow take."""

import re
from typing import Any

import pytest
import yaml

from blocks import DRIVERS, driver_class
from deployments.flow_specs import require_parameters
from tasks.challenge.model import Fault, expected
from tasks.common.backups import Form
from tasks.common.errors import Refused
from tasks.restore.decide import require_fits
from tasks.verification.choice import require_scratch
from tests.support.docs import ROOT, files_of, load
from tests.support.server import estate

PAGE = ROOT / "docs/how-to/back-up-postgresql.md"
CHALLENGES = ROOT / "docs/how-to/challenge-backups.md"


def examples() -> list[dict[str, Any]]:
    fences = PAGE.read_text(encoding="utf-8").split("```yaml\n")[1:]
    return [yaml.safe_load(fence.partition("```")[0]) for fence in fences]


def test_documented_settings_are_accepted() -> None:
    pgbackrest, barman_cloud, pg_basebackup = examples()
    assert driver_class("backup", "pgbackrest").Settings.model_validate(pgbackrest)
    assert driver_class("backup", "barman-cloud").Settings.model_validate(barman_cloud)
    assert driver_class("backup", "pg_basebackup").Settings.model_validate(pg_basebackup)


def test_archive_command_of_the_page_uses_the_file_that_slipway_writes() -> None:
    pgbackrest, barman, _ = examples()
    keys = f"AWS_CONFIG_FILE={barman['folder']}/config AWS_SHARED_CREDENTIALS_FILE={barman['folder']}/credentials"
    place = f"s3://{barman['s3']['bucket']}/{barman['path']} {barman['server']}"
    for wanted in (
        f"pgbackrest --config={pgbackrest['folder']}/pgbackrest.conf --stanza={pgbackrest['stanza']} archive-push %p",
        f"{keys} /opt/barman/bin/barman-cloud-wal-archive --gzip {place} %p",
    ):
        assert f"archive_command = '{wanted}'" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["verify-a-backup.md", "challenge-backups.md"])
def test_documented_verification_is_one_that_an_estate_and_the_flow_take(page: str) -> None:
    text = (ROOT / "docs/how-to" / page).read_text(encoding="utf-8")
    (shown,) = (yaml.safe_load(fence.partition("```")[0]) for fence in text.split("```yaml\n")[1:])
    wanted = estate(**shown)
    require_parameters(wanted)
    plan = wanted.backups["shop-db"]
    assert plan.verification is not None and plan.verification.database is not None
    for port, spec in (
        ("backup", plan.engine),
        ("database", plan.verification.database),
        ("scratch", plan.verification.scratch),
    ):
        assert driver_class(port, spec.driver).Settings.model_validate(spec.settings)


def test_documented_targets_are_ones_that_an_estate_takes_and_that_are_for_what_their_engine_restores() -> None:
    text = (ROOT / "docs/how-to/restore.md").read_text(encoding="utf-8")
    plans = {}
    for fence in text.split("```yaml\n")[1:]:
        plans |= estate(**yaml.safe_load(fence.partition("```")[0])).backups
    assert set(plans) == {"shop-db", "shop-files", "shop-redis"}
    for plan in plans.values():
        form, how = engine_class(plan.engine.driver).form, plan.verification
        assert how is not None
        scratch = driver_class("scratch", how.scratch.driver)
        require_scratch(form, scratch.forms, how.name or "", "x")  # type: ignore[attr-defined]
        for target in plan.targets.values():
            driver = driver_class("target", target.server.driver)
            assert driver.Settings.model_validate(target.server.settings)
            require_fits(form, driver.forms, target, "x")  # type: ignore[attr-defined]


def engine_class(driver: str) -> Any:
    return driver_class("backup", driver)


def test_plan_and_schedule_of_the_page_about_keeping_it_up_are_ones_that_the_flow_takes() -> None:
    text = files_of(ROOT / "docs/how-to/backups.md")["backups.yaml"]
    require_parameters(load(text))
    with pytest.raises(Refused, match="asks flows for what they do not take"):
        require_parameters(load(text.replace("{plan: campus-dump}", "{pln: campus-dump}")))


def test_page_about_challenges_has_every_damage_and_who_should_find_it() -> None:
    rows = dict(
        re.findall(r"^\| ([^|]+?) \| [^|]+ \| ([^|]+?) \|[^|]*\|$", CHALLENGES.read_text("utf-8"), re.MULTILINE)
    )
    for fault in Fault:
        assert rows[fault].startswith(expected(fault, Form.CLUSTER)), fault
        assert expected(fault, Form.DUMP) in rows[fault], fault


def test_page_about_challenges_names_every_engine_that_can_be_challenged() -> None:
    text = CHALLENGES.read_text("utf-8")
    assert all(f"`{name}`" in text for name in DRIVERS["challenge"])

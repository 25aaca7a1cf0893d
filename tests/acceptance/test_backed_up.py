"""Campus's database is backed up and proven in the lab, out of the box, by what people type."""

import json

import pytest

from tests.support.lab import LabPlace, first_release

pytestmark = [pytest.mark.server, pytest.mark.slow]

PLAN = "campus-db"


def test_lab_backs_up_campus_and_proves_it_by_a_restore_and_says_so(lab: LabPlace) -> None:
    if not lab.records():
        assert first_release(lab, "v1").code == 0
    taken = lab.slipway("backup", PLAN)
    assert taken.code == 0, taken.out + taken.err
    proven = lab.slipway("verify-backup", PLAN)
    assert proven.code == 0, proven.out + proven.err
    catalogue = lab.estate.ledger.catalogue
    first, copy = sorted(catalogue.entries(PLAN), key=lambda each: each.repository)
    assert first.verified_at is not None and (first.repository, copy.repository) == (1, 2)
    seen = catalogue.source_of(first.id)
    assert seen is not None and seen.steady and seen.facts.rows["public.courses"] == 16
    (found,) = catalogue.verifications(PLAN, 5)
    left_out = {rung.name for rung in found.rungs if rung.outcome.value != "held"}
    assert left_out == {"page checksums", "structure"}, "it is a dump"
    assert found.rpo_s is not None and found.rto_s is not None
    shown = lab.slipway("backups", "--json")
    (status,) = json.loads(shown.out)
    assert (shown.code, status["problems"]) == (0, [])
    assert status["next_backup_at"] and status["next_verification_at"]
    artifact = lab.prefect("GET", f"/artifacts/verification-{PLAN}/latest")["data"]
    assert "**Sound: it was restored, and what came back is right.**" in artifact
    assert lab.lab.secret("backup-key") not in artifact and "learner1@" not in artifact

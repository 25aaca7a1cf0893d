"""What the demo says of the backup that it has proven."""

from dataclasses import replace

from deployments.lab.demo_backup import Proof
from tasks.common.backup_plans import Objectives
from tasks.common.backups import RungOutcome
from tests.support.catalogue import entry, rung, verification

OBJECTIVES = Objectives(rto="15m", rpo="26h")


def test_proof_names_the_backup_what_held_and_the_measured_rpo_and_rto() -> None:
    found = verification(entry())
    found = replace(found, rungs=(rung(name="restore"), rung(name="schema"), rung(RungOutcome.LEFT_OUT, "structure")))
    text = "\n".join(Proof(entry(), 2, found, OBJECTIVES).lines())
    assert entry().id in text and "2.9 MiB in 1 min, encrypted, in 2 repositories" in text
    assert "what held: restore, schema" in text and "structure" not in text
    assert "4 s of 26 h" in text
    assert "1 min 30 s of 15 min" in text


def test_what_was_not_measured_is_said_so() -> None:
    lines = Proof(entry(), 1, verification(entry(), rpo_s=None, rto_s=None), OBJECTIVES).lines()
    assert [line for line in lines if "not measured of" in line] == lines[-2:]

"""Which rungs are climbed, and what they say together."""

from datetime import UTC, datetime, timedelta

import pytest

from tasks.common.backups import Form, Rung, RungOutcome
from tasks.common.errors import Refused, Retryable, Unsafe
from tasks.verification import ladder
from tasks.verification.ladder import LADDER, climb, conclude, excused
from tasks.verification.model import Finding

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = [place.name for place in LADDER]


def rung(name: str, outcome: RungOutcome = RungOutcome.HELD, took_s: float = 1.0, **facts: object) -> Rung:
    return Rung(name, outcome, "said", took_s, facts)


def climbed(form: Form, broken: str = "") -> dict[str, str]:
    """Return the outcome of each rung where one finds something wrong."""
    below: list[Rung] = []
    for name in NAMES:
        outcome = RungOutcome.BROKEN if name == broken else RungOutcome.HELD
        below.append(climb(name, form, below, lambda outcome=outcome: Finding(outcome, "said")))  # type: ignore[misc]
    return {each.name: each.outcome.value for each in below}


def left_out(form: Form, broken: str = "") -> list[str]:
    return [name for name, outcome in climbed(form, broken).items() if outcome == "left out"]


def test_cluster_is_looked_at_on_every_rung() -> None:
    assert set(climbed(Form.CLUSTER).values()) == {"held"}


def test_dump_has_no_old_pages_and_indexes_to_look_at() -> None:
    assert left_out(Form.DUMP) == ["page checksums", "structure"]


@pytest.mark.parametrize("form", [Form.FILES, Form.RDB])
def test_what_is_no_database_is_only_restored(form: Form) -> None:
    assert [name for name, outcome in climbed(form).items() if outcome == "held"] == NAMES[:3]


@pytest.mark.parametrize("broken", NAMES[1:6])
def test_broken_rung_leaves_out_all_above_it(broken: str) -> None:
    assert left_out(Form.CLUSTER, broken) == NAMES[NAMES.index(broken) + 1 :]


def test_backup_that_is_too_old_is_restored_all_the_same() -> None:
    assert left_out(Form.CLUSTER, "freshness") == []


@pytest.mark.parametrize("broken", NAMES[6:11])
def test_what_the_data_means_is_looked_at_from_every_side_though_one_is_broken(broken: str) -> None:
    assert left_out(Form.CLUSTER, broken) == ["heartbeat"]


def test_left_out_rung_names_the_one_that_is_broken_and_is_not_looked_at() -> None:
    found = excused("schema", Form.CLUSTER, [rung("page checksums", RungOutcome.BROKEN)])
    assert found is not None
    assert (found.outcome, found.took_s) == (RungOutcome.LEFT_OUT, 0.0)
    assert "'page checksums'" in found.said


@pytest.mark.parametrize("kind", [Refused, Unsafe])
def test_look_that_ends_in_an_error_breaks_its_rung(kind: type[Refused]) -> None:
    def look() -> Finding:
        raise kind("no such program", on="here", next_action="install it", facts={"name": "pg_x"})

    found = climb("structure", Form.CLUSTER, (), look)
    assert (found.outcome, found.said) == (RungOutcome.BROKEN, "no such program")
    assert found.facts == {"on": "here", "next": "install it", "name": "pg_x"}


def test_look_that_may_be_made_again_is_not_judged() -> None:
    def look() -> Finding:
        raise Retryable("no answer", on="here", next_action="wait")

    with pytest.raises(Retryable):
        climb("structure", Form.CLUSTER, (), look)


def test_rto_is_the_time_of_the_restore_and_of_all_looks_at_the_copy() -> None:
    rungs = [rung(name, took_s=2.0, **({"rpo_s": 7} if name == "heartbeat" else {})) for name in NAMES]
    found = conclude("e", "r", NOW, NOW + timedelta(minutes=1), rungs)
    assert found.sound
    # Without freshness and the repository, which come before it, and the heartbeat, which proves nothing.
    assert found.rto_s == 2.0 * (len(NAMES) - 3)
    assert found.rpo_s == 7.0


@pytest.mark.parametrize("broken", NAMES[2:11])
def test_copy_that_is_not_right_has_no_rto(broken: str) -> None:
    rungs = [rung(name, RungOutcome.BROKEN if name == broken else RungOutcome.HELD) for name in NAMES]
    found = conclude("e", "r", NOW, NOW, rungs)
    assert (found.sound, found.rto_s, found.rpo_s) == (False, None, None)


def test_copy_that_was_never_restored_has_no_rto() -> None:
    rungs = [rung("repository", RungOutcome.BROKEN), rung("restore", RungOutcome.LEFT_OUT)]
    assert conclude("e", "r", NOW, NOW, rungs).rto_s is None


def test_rpo_that_is_too_long_is_measured_and_is_not_sound() -> None:
    rungs = [rung(ladder.RESTORE), rung(ladder.HEARTBEAT, RungOutcome.BROKEN, rpo_s=900.0)]
    found = conclude("e", "r", NOW, NOW, rungs)
    assert (found.sound, found.rpo_s, found.rto_s) == (False, 900.0, 1.0)


@pytest.mark.parametrize("broken", NAMES)
def test_only_what_is_wrong_with_the_backup_itself_is_held_against_it(broken: str) -> None:
    rungs = [rung(name, RungOutcome.BROKEN if name == broken else RungOutcome.HELD) for name in NAMES]
    found = conclude("e", "r", NOW, NOW, rungs)
    assert not found.sound and [each.name for each in found.broken] == [broken]
    assert found.unsound is (broken not in ("freshness", "heartbeat"))


def test_backup_that_was_only_read_is_neither_sound_nor_unsound() -> None:
    found = conclude("e", "r", NOW, NOW, [rung("repository"), rung(ladder.RESTORE, RungOutcome.LEFT_OUT)])
    assert (found.sound, found.unsound, found.rto_s) == (False, False, None)

"""Whether a database is as the code of a commit needs it, by how each of its migrations stands."""

from dataclasses import replace

import pytest

from tasks.common.migrations import MigrationState, Phase
from tasks.migration.catalogue import Attempt, Catalogue, Identity, Observed
from tasks.migration.files import load_migrations
from tasks.migration.fit import left_behind, unready
from tests.support.migrating import NAMES
from tests.unit.migration.test_contract import NAME, seen

(WRITTEN,) = load_migrations(NAMES, "migrations")


def standing(done: Phase | None, state: MigrationState = MigrationState.UNDER_WAY, problem: str = "") -> Observed:
    found = replace(seen().attempts[0].standing, name=WRITTEN.name, state=state, done=done)
    return Observed(Identity("x"), Catalogue(0, {}), (Attempt(found, WRITTEN.compiled(), problem=problem),))


def told(observed: Observed) -> str:
    found = unready(observed, [WRITTEN], "apply it")
    assert all(each.what == WRITTEN.name for each in found)
    return "; ".join(f"{each.state}: {each.next_action}" for each in found)


@pytest.mark.parametrize(
    ("observed", "says"),
    [
        (Observed(Identity("x"), Catalogue(0, {})), "nothing of it is done: apply it"),
        (standing(None), "begun: apply it"),
        (standing(Phase.EXECUTE), "through execute: apply it"),
        (
            standing(Phase.EXECUTE, MigrationState.FAILED, "a check"),
            "through execute, and has failed: a check: apply it",
        ),
        (
            standing(Phase.VALIDATE, MigrationState.UNDOING),
            f"it is being undone: slipway migration undo {WRITTEN.name}; then: apply it",
        ),
    ],
)
def test_code_is_not_given_users_before_its_migrations_are_validated(observed: Observed, says: str) -> None:
    assert told(observed) == says


@pytest.mark.parametrize("state", [MigrationState.UNDER_WAY, MigrationState.FAILED, MigrationState.APPLIED])
def test_code_is_given_users_whatever_became_of_the_cleanup(state: MigrationState) -> None:
    assert told(standing(Phase.VALIDATE, state)) == ""


def test_migration_that_was_edited_since_is_not_the_one_that_the_code_needs() -> None:
    observed = standing(Phase.VALIDATE)
    other = observed.attempts[0].compiled.model_copy(update={"checksum": "f" * 64})
    edited = replace(observed, attempts=(replace(observed.attempts[0], compiled=other),))
    assert told(edited).startswith("it was edited after it was begun")


def test_migrations_that_others_have_begun_do_not_matter_until_they_have_removed_something() -> None:
    assert left_behind(seen(), []) == ()
    (found,) = left_behind(seen(begun=True), ["0001_w"])
    assert found.what == NAME and "does not have it" in found.state
    assert left_behind(seen(begun=True), [NAME]) == ()

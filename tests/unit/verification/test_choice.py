"""Which backup is verified."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from tasks.common.backup_plans import VerificationPlan
from tasks.common.backups import OF_POSTGRESQL, Entry, Form
from tasks.common.errors import Refused
from tasks.verification.choice import LEAST_RECENTLY, NEWEST, RANDOM, choose, is_newest, require_scratch
from tests.support.catalogue import NOW, PLAN, entry

HOUR = timedelta(hours=1)
OLD = entry(NOW - 3 * HOUR, verified_at=NOW - HOUR)
WRONG = entry(NOW - 2 * HOUR, unsound_at=NOW - HOUR / 2)
NEW = entry(NOW - HOUR, verified_at=NOW - 2 * HOUR)
COPY = entry(NOW, repository=2)
ALL = (NEW, OLD, WRONG)


def last(entries: Sequence[Entry]) -> Entry:
    return entries[-1]


def test_newest_is_that_of_the_first_repository() -> None:
    assert choose(NEWEST, PLAN, (COPY, *ALL), last) == NEW
    assert choose(NEWEST, PLAN, (COPY,), last) == COPY


def test_random_one_is_any_of_them() -> None:
    assert choose(RANDOM, PLAN, (COPY, *ALL), last) == WRONG


def test_least_recently_verified_is_one_that_never_was_and_the_newest_of_those() -> None:
    older = entry(NOW - 5 * HOUR)
    assert choose(LEAST_RECENTLY, PLAN, (*ALL, older, COPY), last) == COPY
    assert choose(LEAST_RECENTLY, PLAN, (*ALL, older), last) == older


def test_one_that_was_found_wrong_does_not_keep_the_others_waiting() -> None:
    assert choose(LEAST_RECENTLY, PLAN, ALL, last) == NEW
    assert choose(LEAST_RECENTLY, PLAN, (OLD, WRONG), last) == OLD


def test_id_names_one_of_them() -> None:
    assert choose(OLD.id, PLAN, ALL, last) == OLD


@pytest.mark.parametrize(("which", "near"), [("newset", NEWEST), (OLD.id[:-1], OLD.id)])
def test_unknown_one_is_refused_and_what_comes_near_is_named(which: str, near: str) -> None:
    with pytest.raises(Refused) as refused:
        choose(which, PLAN, ALL, last)
    assert repr(which) in refused.value.what and near in refused.value.next_action


def test_plan_without_a_backup_is_refused() -> None:
    with pytest.raises(Refused, match="there is no backup to verify"):
        choose(NEWEST, PLAN, (), last)


def test_newest_of_its_repository_is_not_the_newest_of_all() -> None:
    assert is_newest(NEW, (*ALL, COPY)) and is_newest(COPY, (*ALL, COPY))
    assert not is_newest(OLD, ALL)


FOLDERS = frozenset({Form.FILES, Form.RDB})


@pytest.mark.parametrize("form", Form)
def test_scratch_server_is_for_forms_of_its_own(form: Form) -> None:
    name = "shop" if form in OF_POSTGRESQL else ""
    for forms in (OF_POSTGRESQL, FOLDERS):
        if form in forms:
            require_scratch(form, forms, name, PLAN)
        else:
            with pytest.raises(Refused, match=f"backups of the form {form.value}") as caught:
                require_scratch(form, forms, name, PLAN)
            assert "'folder' for files or a Redis snapshot" in caught.value.next_action


def test_database_is_named_where_there_is_one_and_only_there() -> None:
    with pytest.raises(Refused, match="not said which one") as caught:
        require_scratch(Form.DUMP, OF_POSTGRESQL, "", PLAN)
    assert caught.value.next_action.startswith("add 'database' and 'name'")
    with pytest.raises(Refused, match="there is none in a backup of the form rdb") as caught:
        require_scratch(Form.RDB, FOLDERS, "shop", PLAN)
    assert caught.value.next_action.startswith("remove 'database' and 'name'")


@pytest.mark.parametrize("given", [{"name": "shop"}, {"database": {"driver": "memory"}}, {"expectations": "folder"}])
def test_database_is_described_whole_or_not_at_all(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="is looked at as a database"):
        VerificationPlan.model_validate({"scratch": {"driver": "folder", "folder": "x"}, **given})
    assert VerificationPlan.model_validate({"scratch": {"driver": "folder", "folder": "x"}}).name is None

"""A repository that has nothing of what the catalogue knows is not taken for the one that was written."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tasks.common.errors import Refused
from tasks.common.repositories import require_known
from tests.support.catalogue import NOW, PLAN, entry

OLD, NEW = entry(NOW - timedelta(hours=1)), entry(NOW)


def test_repository_that_has_one_of_them_is_the_one() -> None:
    require_known([NEW, OLD], [OLD.stored], PLAN, 1)
    require_known([NEW, OLD], [OLD.stored, NEW.stored], PLAN, 1)


def test_repository_of_which_nothing_is_known_may_be_empty_or_not() -> None:
    require_known([], [], PLAN, 1)
    require_known([], [NEW.stored], PLAN, 1)


@pytest.mark.parametrize("stranger", [(), (replace(NEW.stored, label="of another place"),)], ids=["empty", "another"])
@pytest.mark.parametrize("known", [(NEW,), (NEW, OLD)], ids=["one", "two"])
def test_repository_that_has_none_of_them_is_refused_with_what_to_do(known: tuple, stranger: tuple) -> None:
    with pytest.raises(Refused, match="is not the one that was written") as caught:
        require_known(known, stranger, PLAN, 1)
    assert "mounted" in caught.value.next_action
    assert f"slipway backup {PLAN} --accept-loss" in caught.value.next_action
    assert caught.value.facts == {"newest of them": NEW.id, "other backups there": len(stranger)}


def test_label_that_another_repository_has_counts_for_nothing() -> None:
    with pytest.raises(Refused):
        require_known([entry(NOW, repository=2)], [], PLAN, 2)
    require_known([entry(NOW, repository=2)], [NEW.stored], PLAN, 2)

"""The page about pull requests says what the code does."""

import re
from typing import Any

import yaml

from blocks import guest
from blocks.rooms import user_of
from tasks.common.checks import Checks
from tasks.common.units import show_duration
from tasks.release.request import CheckRequest
from tests.support.docs import ROOT, files_of, firsts, load, section

PAGE = ROOT / "docs/how-to/check-pull-requests.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_page_has_every_key_and_its_default() -> None:
    assert sorted(firsts(PAGE, "Make a user for it")) == sorted(
        f"`{f.alias or n}`" for n, f in Checks.model_fields.items()
    )
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (.+) \|$", section(PAGE, "Make a user for it"), re.MULTILINE))
    assert rows["at_most"] == show_duration(Checks().at_most_s)
    assert rows["isolation"] == f"`{Checks().isolation}`"


def test_documented_estate_names_the_user_that_is_made() -> None:
    estate: Any = load(files_of(PAGE)["checks.yaml"])
    assert f"useradd --system --no-create-home {estate.checks.user}" in TEXT
    assert f" {estate.checks.folder}\n" in TEXT
    assert user_of(estate.checks.model_copy(update={"user": "nobody"}), 0) is not None


def test_page_has_the_numbers_of_the_code() -> None:
    assert f"{guest._LINES_AT_MOST:,} lines of output" in TEXT
    found = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    (check,) = (each for each in found if each["flow_name"] == "check")
    assert check["concurrency_limit"]["limit"] == 2
    assert "two checks at a time" in TEXT


def test_documented_refs_and_parameters_are_those_of_the_form() -> None:
    for ref in re.findall(r"`(refs/[^`]+)`", TEXT):
        assert CheckRequest(service="campus", commit="a" * 40, ref=ref).ref == ref
    (rule,) = yaml.safe_load(files_of(PAGE)["pull-requests.yaml"])["webhooks"]["github"]["rules"]
    assert set(rule["parameters"]) <= set(CheckRequest.model_fields)


def test_ref_that_git_could_take_for_something_else_is_refused() -> None:
    for ref in ("main", "-x", "refs/heads/*", "refs/a:refs/b", "+refs/a", "refs/a^{}", "refs/ a", "refs/pull/7/head\n"):
        try:
            CheckRequest(service="campus", commit="a" * 40, ref=ref)
        except ValueError:
            continue
        raise AssertionError(ref)

"""What every driver does that tells a forge about a commit; GitHub and GitLab are a fake, as strict as they are."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.forges.github_status import GithubStatus
from blocks.forges.gitlab_status import GitlabStatus
from blocks.memory.forge import MemoryForge
from blocks.secrets import Secrets
from tasks.common.delivery import Told
from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.webhook.ports import CommitReport, Forge
from tests.support.forge import TOKEN, fake_forge
from tests.support.http_server import plain
from tests.support.processes import free_port

REPORT = CommitReport("acme/campus", "a" * 40, "slipway/release", Told.PENDING, "the release is at work", "https://x/1")


@dataclass
class Bench:
    """A driver, what the other side shows, how that is made busy or unwilling, and one whose forge is not there."""

    forge: Forge
    shown: Callable[[], list[tuple[str, str, str, str, str]]]
    be_busy: Callable[[], None]
    be_unwilling: Callable[[], None]
    silent: Forge


def _context(folder: Path) -> Context:
    (folder / "token").write_text(TOKEN)
    return Context(base=folder, secrets=Secrets(folder))


def open_forge(kind: str, folder: Path, url: str) -> GithubStatus | GitlabStatus:
    driver = {"github": GithubStatus, "gitlab": GitlabStatus}[kind]
    settings = driver.Settings.model_validate({"token": "file:token", "url": url, "timeout": "2s"})
    return driver(settings, _context(folder))


def _real(kind: str, folder: Path) -> Iterator[Bench]:
    keys = ("repository", "commit", "name", "state", "description")
    with fake_forge() as fake:
        yield Bench(
            open_forge(kind, folder, fake.url),
            lambda: [tuple(each[key] for key in keys) for each in fake.taken],  # type: ignore[misc]
            lambda: fake.answers.append(plain(503, "busy")),
            lambda: fake.answers.append(plain(401, f"no {TOKEN} here")),
            open_forge(kind, folder, f"http://127.0.0.1:{free_port()}"),
        )


def _memory(kind: str, folder: Path) -> Iterator[Bench]:
    del kind
    forge, silent = (MemoryForge(MemoryForge.Settings(), Context(base=folder)) for _ in range(2))
    silent.problems = [Retryable("it does not answer", on="memory", next_action="wait")] * 9
    yield Bench(
        forge,
        lambda: [(r.repository, r.commit, r.name, r.state.value, r.description) for r in forge.taken],
        lambda: forge.problems.append(Retryable("it is busy", on="memory", next_action="wait")),
        lambda: forge.problems.append(Refused("it will not", on="memory", next_action="ask why")),
        silent,
    )


@pytest.fixture(
    params=[
        pytest.param((_real, "github"), marks=pytest.mark.server, id="github"),
        pytest.param((_real, "gitlab"), marks=pytest.mark.server, id="gitlab"),
        pytest.param((_memory, ""), id="memory"),
    ]
)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    make, kind = request.param
    yield from make(kind, tmp_path)


def test_report_is_shown_with_everything_that_it_says(bench: Bench) -> None:
    bench.forge.report(REPORT)
    assert bench.shown() == [("acme/campus", "a" * 40, "slipway/release", "pending", "the release is at work")]


@pytest.mark.parametrize("state", list(Told))
def test_every_state_can_be_told(bench: Bench, state: Told) -> None:
    bench.forge.report(replace(REPORT, state=state))
    assert len(bench.shown()) == 1


def test_end_is_shown_after_the_beginning(bench: Bench) -> None:
    for state in (Told.PENDING, Told.SUCCESS):
        bench.forge.report(replace(REPORT, state=state))
    assert [each[3] for each in bench.shown()] == ["pending", "success"]


@pytest.mark.parametrize("state", [Told.PENDING, Told.SUCCESS])
def test_same_report_again_does_no_harm(bench: Bench, state: Told) -> None:
    for _ in range(2):
        bench.forge.report(replace(REPORT, state=state))
    assert {each[3] for each in bench.shown()} == {state.value}


def test_forge_that_is_busy_may_take_it_later(bench: Bench) -> None:
    bench.be_busy()
    with pytest.raises(Retryable):
        bench.forge.report(REPORT)
    bench.forge.report(REPORT)
    assert len(bench.shown()) == 1


def test_forge_that_will_not_take_it_says_so_and_not_the_token(bench: Bench) -> None:
    bench.be_unwilling()
    with pytest.raises(Refused) as raised:
        bench.forge.report(REPORT)
    assert raised.value.next_action
    assert TOKEN not in f"{raised.value} {raised.value.__context__!r} {raised.value.__cause__!r}"
    assert bench.shown() == []


def test_forge_that_is_not_there_may_take_it_later(bench: Bench) -> None:
    with pytest.raises(Retryable) as raised:
        bench.silent.report(REPORT)
    assert TOKEN not in str(raised.value)


# --- over HTTP

HTTP = pytest.mark.parametrize("kind", ["github", "gitlab"])


@HTTP
@pytest.mark.server
def test_long_words_are_cut_strange_names_are_quoted_and_what_is_no_address_is_left_out(
    kind: str, tmp_path: Path
) -> None:
    with fake_forge() as fake:
        forge = open_forge(kind, tmp_path, fake.url)
        forge.report(replace(REPORT, repository="a b/c?d#e%2f", description="x" * 500, link="javascript:alert(1)"))
        forge.report(replace(REPORT, commit="b" * 40))
    first, second = fake.taken
    assert (first["repository"], first["description"], "target_url" in first) == ("a b/c?d#e%2f", "x" * 140, False)
    assert second["target_url"] == "https://x/1"


@HTTP
@pytest.mark.server
@pytest.mark.parametrize(
    ("answer", "kind_of_error"),
    [
        (plain(429, "slow down"), Retryable),
        (plain(403, "limit", "Retry-After: 60"), Retryable),
        (plain(403, "limit", "X-RateLimit-Remaining: 0"), Retryable),
        (plain(403, "no"), Refused),
        (plain(404, "no"), Refused),
        (plain(422, "No commit found"), Refused),
        (plain(307, "", "Location: http://127.0.0.1:1/"), Refused),
        (plain(400, "Cannot transition status via :enqueue from :success"), Refused),
        ([b"HTTP/1.1 20"], Retryable),
        ([b"nonsense\r\n\r\n"], Retryable),
    ],
)
def test_answer_says_whether_it_may_be_tried_again(
    kind: str, answer: list[bytes], kind_of_error: type[SlipwayError], tmp_path: Path
) -> None:
    with fake_forge() as fake:
        fake.answers = [answer]
        with pytest.raises(kind_of_error):
            open_forge(kind, tmp_path, fake.url).report(REPORT)


@HTTP
def test_address_that_is_not_encrypted_is_refused_before_the_token_is_sent(kind: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="not encrypted"):
        open_forge(kind, tmp_path, "http://forge.example.org")


@HTTP
@pytest.mark.server
def test_token_that_is_changed_counts_and_one_that_is_gone_is_told_later(kind: str, tmp_path: Path) -> None:
    with fake_forge() as fake:
        forge = open_forge(kind, tmp_path, fake.url)
        (tmp_path / "token").write_text("an-old-token")
        with pytest.raises(Refused, match="401"):
            forge.report(REPORT)
        (tmp_path / "token").unlink()
        with pytest.raises(Retryable, match="cannot be read"):
            forge.report(REPORT)
        (tmp_path / "token").write_text(TOKEN)
        forge.report(REPORT)
        (tmp_path / "token").unlink()
        with pytest.raises(Refused, match="cannot be read"):
            _without_token(kind, tmp_path, fake.url)


def _without_token(kind: str, folder: Path, url: str) -> None:
    driver = {"github": GithubStatus, "gitlab": GitlabStatus}[kind]
    driver(driver.Settings.model_validate({"token": "file:token", "url": url}), Context(base=folder))

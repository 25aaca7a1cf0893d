"""The demo's repository: three commits, the same on every machine, the third with a fault that its tests do not see."""

import asyncio
import contextlib
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from blocks.shell import run
from deployments.lab import campus_versions
from deployments.lab.campus_versions import make_repository
from tasks.common.errors import Refused
from tasks.common.load import load_service
from tasks.common.service import ServiceFile
from tests.support.campus import PYTHON_FOLDER, Instance, checked_out, ready_campus
from tests.support.needs import need
from tests.support.postgresql import Cluster


@pytest.fixture(scope="module", autouse=True)
def _git() -> None:
    need("git")


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Check-outs, by version."""
    folder = tmp_path_factory.mktemp("versions")
    commits = make_repository(folder / "campus")
    return {version: checked_out(folder / "campus", commit, folder / version) for version, commit in commits.items()}


def git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout


def service_of(tree: Path) -> ServiceFile:
    return load_service((tree / "slipway.yaml").read_text(), str(tree))


def test_hashes_are_the_same_wherever_it_is_made_whoever_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = make_repository(tmp_path / "here")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".gitconfig").write_text(
        "[user]\nname = Else\n[commit]\ngpgsign = true\n[core]\nautocrlf = true\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert make_repository(tmp_path / "there") == here
    assert list(here) == ["v1", "v2", "v3"]
    assert git("log", "--format=%H", "main", cwd=tmp_path / "here").split() == [here["v3"], here["v2"], here["v1"]]
    assert git("status", "--porcelain", cwd=tmp_path / "here") == ""


def test_second_call_leaves_the_repository_alone(tmp_path: Path) -> None:
    first = make_repository(tmp_path / "campus")
    before = (tmp_path / "campus" / ".git").stat().st_ino
    assert make_repository(tmp_path / "campus") == first
    assert (tmp_path / "campus" / ".git").stat().st_ino == before
    assert [path.name for path in tmp_path.iterdir()] == ["campus"]


def test_outdated_repository_is_replaced(tmp_path: Path) -> None:
    first = make_repository(tmp_path / "campus")
    git("tag", "-f", "v1", "v2", cwd=tmp_path / "campus")
    assert make_repository(tmp_path / "campus") == first
    assert git("rev-parse", "v1", cwd=tmp_path / "campus").strip() == first["v1"]


def test_folder_with_something_else_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years of work")
    with pytest.raises(Refused, match="something else"):
        make_repository(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_patch_that_does_not_fit_is_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patches = Path(shutil.copytree(campus_versions.PATCHES, tmp_path / "patches"))
    first = patches / "v1-blue-green.patch"
    first.write_text(first.read_text().replace("-  strategy: canary", "-  strategy: daring"))
    monkeypatch.setattr(campus_versions, "PATCHES", patches)
    (tmp_path / "out").mkdir()
    with pytest.raises(Refused, match="git apply failed"):
        make_repository(tmp_path / "out" / "campus")
    assert list((tmp_path / "out").iterdir()) == []


def test_first_version_is_promoted_at_once_and_the_others_as_canaries(trees: dict[str, Path]) -> None:
    promotions = {version: service_of(tree).promotion for version, tree in trees.items()}
    assert promotions["v1"].strategy == "blue-green"
    assert promotions["v1"].shift == "instant"
    assert promotions["v2"] == promotions["v3"]
    assert promotions["v2"].strategy == "canary"


@pytest.mark.server
@pytest.mark.parametrize("version", ["v2", "v3"])
def test_tests_of_every_version_pass(version: str, trees: dict[str, Path], database_url: str) -> None:
    for step in service_of(trees[version]).test.steps:
        done = run(
            step.command,
            cwd=trees[version],
            timeout_s=step.timeout_s,
            redact=str,
            env={"CAMPUS_TEST_DATABASE_URL": database_url},
            path=[PYTHON_FOLDER],
        )
        assert done.exit_code == 0, "\n".join(done.tail)


@contextlib.contextmanager
def version(name: str, trees: dict[str, Path], cluster: Cluster, folder: Path) -> Iterator[Instance]:
    with ready_campus(trees[name], cluster.database(), folder=folder, release=name) as instance:
        yield instance


@pytest.mark.server
def test_third_version_passes_smoke_and_journey(
    trees: dict[str, Path], postgresql_cluster: Cluster, tmp_path: Path
) -> None:
    service = service_of(trees["v3"])
    with version("v3", trees, postgresql_cluster, tmp_path) as instance, instance.client() as client:
        for check in (*service.smoke, *service.validation.critical_features):
            answer = client.request(check.method, check.path, json=check.json_body)
            assert answer.status_code == check.expect, check.label
            assert (check.contains or "") in answer.text, check.label
        (journey,) = service.end_to_end
        env = {"SLIPWAY_URL": instance.url}
        done = run(journey.command, cwd=trees["v3"], timeout_s=60, redact=str, env=env, path=[PYTHON_FOLDER])
        assert done.exit_code == 0, "\n".join(done.tail)


async def _lists(url: str, count: int) -> Counter[int]:
    async with httpx.AsyncClient(base_url=url, timeout=15) as client:
        answers = await asyncio.gather(*(client.get("/api/v1/courses") for _ in range(count)))
    return Counter(answer.status_code for answer in answers)


@pytest.mark.server
def test_third_version_fails_one_list_in_sixteen_under_traffic_and_the_second_none(
    trees: dict[str, Path], postgresql_cluster: Cluster, tmp_path: Path
) -> None:
    with version("v2", trees, postgresql_cluster, tmp_path) as instance:
        assert asyncio.run(_lists(instance.url, 168)) == {200: 168}
    with version("v3", trees, postgresql_cluster, tmp_path) as instance:
        assert asyncio.run(_lists(instance.url, 8 + 160)) == {200: 158, 500: 10}
        with instance.client() as client:
            metrics = client.get("/metrics").text
    assert 'campus_unhandled_errors_total{release="v3"} 10.0' in metrics
    slow = 'campus_http_request_duration_seconds_bucket{le="2.0",method="GET",release="v3",route="/api/v1/courses"} '
    (line,) = [line for line in metrics.splitlines() if line.startswith(slow)]
    assert float(line.removeprefix(slow)) < 168, "no list took longer than two seconds"

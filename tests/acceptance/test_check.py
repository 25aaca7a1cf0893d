"""Checks of pull requests: what they find, and what a hostile one does not get. Real git, PostgreSQL and Prefect."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client

from blocks.guest import members_of
from blocks.rooms import GROUPS
from tasks.common.errors import Refused
from tests.support.checking import Ended, Place
from tests.support.prefect_server import flows_of
from tests.support.processes import running, short_folder, wait_until
from tests.support.small import SERVICE, sarif

pytestmark = [pytest.mark.server, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
RUN = """
import sys
from flows.check import check
from tasks.release.request import CheckRequest
check(CheckRequest.model_validate_json(sys.argv[1]))
"""


@pytest.fixture(scope="module", autouse=True)
def _prefect(prefect_api: str) -> Iterator[None]:
    with flows_of(prefect_api):
        yield


@pytest.fixture
def place(database_url: str) -> Iterator[Place]:
    with short_folder() as folder:
        yield Place(folder, database_url)


def running_guests(place: Place) -> list[int]:
    """Return the processes of this place's checks: others of the machine may be at work beside them."""
    found = [process for group in GROUPS for process in members_of(group)]
    return [process for process in found if str(place.folder) in environment_of(process)]


def environment_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/environ").read_text(errors="replace")
    except OSError:
        return ""


def test_sound_pull_request_passes_and_leaves_nothing_but_its_summary(place: Place) -> None:
    tests = {"steps": [{"name": "unit", "command": ["sh", "-c", "echo tested; id -u > uid; pwd"]}]}
    sha = place.pull_request("Say *hello*", test=tests)
    ended = place.check(sha)
    assert ended.error is None
    shown = ended.artifacts()["check-campus"]
    assert shown.startswith(f"# campus {sha[:7]}, pull request 7\n\nThe check **passed**. _Say \\*hello\\*_")
    assert f"as of {place.base[:7]}" in shown
    assert "| unit | done |" in shown
    assert "| lint | 0 | 0 | 0 | 0 | 0 |" in shown
    wait_until(lambda: "tested" in ended.everything(), what="the log on the server")
    assert (place.left(), running_guests(place)) == ([], [])
    assert not place.store.exists()
    assert place.ledger.records(None, None, 10) == ()


def test_branch_is_checked_without_a_ref(place: Place) -> None:
    assert place.check("main", ref="", pull_request="").error is None


def test_failing_tests_end_in_a_failed_run_with_a_plain_block(place: Place) -> None:
    tests = {"steps": [{"name": "unit", "command": ["sh", "-c", "echo two is not three; exit 3"]}]}
    ended = place.check(place.pull_request("Break it", test=tests))
    assert isinstance(ended.error, Refused)
    assert ended.error.what == "test 'unit' failed with exit code 3"
    assert "push a new commit" in ended.error.next_action
    shown = ended.artifacts()["check-campus"]
    assert "The check **failed**" in shown
    assert "two is not three" in shown
    assert "| unit | **failed** |" in shown
    assert (place.left(), place.store.exists(), place.ledger.records(None, None, 10)) == ([], False, ())


def test_coverage_below_the_bound_fails_the_check(place: Place) -> None:
    report = json.dumps({"totals": {"percent_covered": 40.0}})
    tests = {
        "steps": [{"name": "unit", "command": ["sh", "-c", "cp covered.json coverage.json"]}],
        "coverage": {"report": "coverage.json", "at_least": "80%"},
    }
    ended = place.check(place.pull_request("Cover less", {"covered.json": report}, test=tests))
    assert "cover 40 %, less than 80 %" in str(ended.error)
    assert "| coverage.json | 40.0 % | 80.0 % |" in ended.artifacts()["check-campus"]


@pytest.mark.parametrize("made", ["ln -s {secret} coverage.json", "mkfifo coverage.json"])
def test_coverage_report_that_is_a_link_or_a_pipe_is_not_read(place: Place, made: str) -> None:
    secret = place.secret("figures", json.dumps({"totals": {"percent_covered": 99.0}}))
    tests = {
        "steps": [{"name": "unit", "command": ["sh", "-c", made.format(secret=secret)]}],
        "coverage": {"report": "coverage.json", "at_least": "80%"},
    }
    ended = place.check(place.pull_request("Read for me", test=tests))
    assert "the coverage report cannot be read" in str(ended.error)


# --- judged by the default branch


def test_pull_request_cannot_take_its_scans_away_nor_accept_what_they_find(place: Place) -> None:
    accepted = [{"tool": "lint", "rule": "planted", "reason": "it is mine, and I like it", "until": "2099-12-31"}]
    loose = {"tool": "lint", "command": ["cp", "clean.sarif", "{output}"], "fail_on": []}
    files = {"report.sarif": sarif("do not"), "clean.sarif": sarif()}
    ended = place.check(place.pull_request("Look away", files, scan=[loose], accepted_findings=accepted))
    assert "lint found 1 that block" in str(ended.error)
    assert "| lint | 1 | 1 | 0 | 0 | 1 |" in ended.artifacts()["check-campus"]


def test_build_cannot_clean_up_before_the_scan(place: Place) -> None:
    clean = "cp clean.sarif report.sarif; touch ~/planted; setsid sleep 600 &"
    files = {"report.sarif": sarif("do not"), "clean.sarif": sarif()}
    build = {**SERVICE["build"], "command": ["sh", "-c", clean]}
    assert "lint found 1 that block" in str(place.check(place.pull_request("Tidy up", files, build=build)).error)


def test_first_service_file_cannot_come_by_a_pull_request(place: Place) -> None:
    place.repo.commit("Forget it", remove=("slipway.yaml",))
    assert "the commit has no such file" in str(place.check(place.pull_request("Bring it")).error)


def test_ref_that_has_moved_on_is_refused(place: Place) -> None:
    first = place.pull_request("First")
    place.pull_request("Other")
    assert "does not lead to the commit" in str(place.check(first).error)


# --- trusted with nothing

HOSTILE = """
echo HOSTILE-RUNS as $(id -u):$(id -g) $(id -G)
env | sort
for parent in $PPID $(ps -e -o pid= -u 0 2>/dev/null); do
    tr '\\0' '\\n' < /proc/$parent/environ
    ls -l /proc/$parent/fd /proc/$parent/cwd/
done
cat {secrets}/* {home}/.ssh/id_ed25519 {home}/.prefect/profiles.toml /etc/shadow
echo $SSH_AUTH_SOCK $PREFECT_API_AUTH_STRING $AWS_SECRET_ACCESS_KEY $TEST_TOKEN
cd {folder}
for place in . work work/checks work/checks/* repository repository/.git {home}; do
    touch $place/written && echo WRITTEN $place
done
sudo -n id; su -c id
setsid sh -c 'trap "" TERM HUP; sleep 600' > /dev/null 2>&1 &
(setsid nohup sleep 600 &)
exit 0
"""
PLANTED = {
    "PREFECT_API_AUTH_STRING": "admin:planted-prefect-password",
    "AWS_SECRET_ACCESS_KEY": "planted-aws-key",
    "SLIPWAY_PLANTED": "planted-slipway-value",
    "SSH_AUTH_SOCK": "/tmp/planted-agent",
    "PLANTED_TEST_TOKEN": "planted-test-token",
}


def test_hostile_pull_request_gets_no_secret_writes_nowhere_and_leaves_no_process(
    place: Place, prefect_api: str
) -> None:
    home = place.folder / "home"
    for name in (".ssh/id_ed25519", ".prefect/profiles.toml"):
        (home / name).parent.mkdir(parents=True)
        (home / name).write_text("planted-key-file")
        (home / name).chmod(0o600)
    place.secret("token", "planted-secret-file")
    place.services["test_secrets"] = {"TEST_TOKEN": "env:PLANTED_TEST_TOKEN"}
    place.write()
    script = HOSTILE.format(secrets=place.folder / "secrets", home=home, folder=place.folder)
    steps = [{"name": "unit", "command": ["sh", "hostile.sh"], "env": {"LD_PRELOAD": "/planted.so"}}]
    build = {**SERVICE["build"], "command": ["sh", "hostile.sh"]}
    sha = place.pull_request(
        "Steal", {"hostile.sh": script}, build=build, test={"steps": steps, "secrets": ["TEST_TOKEN"]}
    )
    env = {**os.environ, **PLANTED, "HOME": str(home), "PREFECT_API_URL": prefect_api, "PREFECT_HOME": str(home)}
    argv = [sys.executable, "-c", RUN, place.request(sha).model_dump_json()]
    done = subprocess.run(argv, cwd=ROOT, env=env, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with get_client(sync_client=True) as client:
        (run,) = [each for each in client.read_flow_runs() if each.name == f"campus {sha[:7]} checked for 7"]
    told = {"output": done.stdout + done.stderr, "Prefect": _all_of(str(run.id))}
    assert told["Prefect"].count("HOSTILE-RUNS") == 2, "the hostile command has run, and was heard"
    password = place.dsn.read_text().rpartition("@")[0].rpartition(":")[2]
    for value in [*PLANTED.values(), "planted-secret-file", "planted-key-file", password]:
        assert [where for where, text in told.items() if value in text] == [], value
    assert "WRITTEN" not in told["Prefect"].replace("echo WRITTEN", "")
    assert list(place.folder.rglob("written")) == []
    assert (place.left(), running_guests(place), place.store.exists()) == ([], [], False)
    assert place.ledger.records(None, None, 10) == ()
    assert "not given to the tests | TEST\\_TOKEN" in told["Prefect"].replace("\\\\", "\\")


def _all_of(run_id: str) -> str:
    ended = Ended(run_id)
    # The last lines of a run come to the server after its end.
    wait_until(lambda: ended.everything().count("HOSTILE-RUNS") >= 2, what="the log on the server")
    return ended.everything()


def test_check_is_refused_where_its_user_could_read_a_secret(place: Place) -> None:
    open_ = place.secret("dsn", place.dsn.read_text(), mode=0o644)
    (place.folder / "secrets").chmod(0o755)
    ended = place.check(place.pull_request("Say hello"))
    assert isinstance(ended.error, Refused)
    assert "can read what is kept from it" in ended.error.what
    assert str(open_) in ended.error.on
    assert place.left() == []


def test_check_is_refused_where_its_user_cannot_reach_it(place: Place) -> None:
    place.folder.chmod(0o700)
    ended = place.check(place.pull_request("Say hello"))
    assert isinstance(ended.error, Refused)
    assert "cannot reach the folder" in ended.error.what
    assert "checks.folder" in ended.error.next_action


def test_check_without_a_user_of_its_own_is_refused(place: Place) -> None:
    place.settings = {}
    place.write()
    ended = place.check(place.pull_request("Say hello"))
    assert "the estate names no user for checks" in str(ended.error)
    assert "useradd" in str(ended.error)


def test_check_ends_when_its_time_is_over_whatever_its_commands_allow(place: Place) -> None:
    place.settings["at_most"] = "3s"
    place.write()
    tests = {"steps": [{"name": "unit", "command": ["sleep", "600"], "timeout": "300d"}]}
    ended = place.check(place.pull_request("Stay", test=tests))
    assert "did not end within" in str(ended.error)
    assert (place.left(), running_guests(place)) == ([], [])


def test_tests_are_told_what_the_estate_has_for_checks(place: Place) -> None:
    place.services["check_env"] = {"DATABASE": "anybody@localhost"}
    place.write()
    tests = {"steps": [{"name": "unit", "command": ["sh", "-c", 'test "$DATABASE" = anybody@localhost']}]}
    assert place.check(place.pull_request("Ask", test=tests)).error is None


def test_what_a_killed_check_has_left_is_cleared_away_by_the_next(place: Place, prefect_api: str) -> None:
    build = {**SERVICE["build"], "command": ["sh", "-c", "setsid sleep 600 & sleep 600"]}
    sha = place.pull_request("Stay", build=build)
    env = {"PREFECT_API_URL": prefect_api}
    argv = [sys.executable, "-c", RUN, place.request(sha).model_dump_json()]
    log = place.folder / "worker.log"
    with running(argv, log=log, env=env, cwd=ROOT) as worker:
        wait_until(lambda: len(running_guests(place)) >= 2 or worker.poll() is not None, within_s=120, what="the build")
        assert worker.poll() is None, log.read_text()
        worker.kill()
    assert place.left()
    assert running_guests(place)
    assert place.check(place.pull_request("Next")).error is None
    assert (place.left(), running_guests(place)) == ([], [])

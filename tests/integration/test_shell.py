import ctypes
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest

from blocks import shell
from blocks.shell import Completed, TimedOut, run
from tasks.common.errors import Refused, Unsafe
from tasks.common.redaction import MASK, Redactor
from tests.support.needs import missing, need
from tests.support.processes import pytest_folders, wait_until

SECRET = "correct-horse-battery"


def bash(script: str, cwd: Path, **options: object) -> Completed:
    given = {"timeout_s": 30.0, "redact": Redactor([SECRET]).redact, **options}
    return run(["bash", "-c", script], cwd=cwd, **given)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def pid_in(path: Path) -> int:
    return int(wait_until(lambda: path.exists() and path.read_text().strip(), what=f"a number in {path.name}"))


def is_gone(pid: int) -> bool:
    return wait_until(lambda: not is_alive(pid), within_s=5, what=f"the end of process {pid}")


def test_exit_code_is_returned_with_the_last_lines_of_both_streams(tmp_path: Path) -> None:
    done = bash("for n in $(seq 50); do echo out $n; done; echo err >&2; exit 3", tmp_path)
    assert done.exit_code == 3
    assert len(done.tail) == 40
    assert {"out 50", "err"} <= set(done.tail)
    assert done.stdout == ""


def test_exit_by_a_signal_is_minus_its_number(tmp_path: Path) -> None:
    assert bash("kill -9 $$", tmp_path).exit_code == -9


def test_captured_output_is_unchanged_and_not_handed_on(tmp_path: Path) -> None:
    seen: list[str] = []
    done = bash(f"printf 'a\\r\\n\\n{SECRET}'; echo note >&2", tmp_path, capture_stdout=True, on_line=seen.append)
    assert done.stdout == f"a\r\n\n{SECRET}"
    assert seen == ["note"]
    assert SECRET not in "".join(done.tail)


def test_a_command_sees_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", SECRET)
    done = run(
        ["env"], cwd=tmp_path, timeout_s=10, redact=str, env={"A": "1"}, path=["/opt/tools"], capture_stdout=True
    )
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert set(found) == {"PATH", "HOME", "LANG", "TMPDIR", "A"}
    assert found["PATH"].startswith("/opt/tools:/usr/local/sbin:")


def test_a_command_that_reads_its_input_finds_the_end(tmp_path: Path) -> None:
    assert bash("cat", tmp_path).exit_code == 0


def test_lines_arrive_while_the_command_still_runs(tmp_path: Path) -> None:
    def answer(line: str) -> None:
        if line == "ready":
            (tmp_path / "go").touch()

    done = bash("echo ready; until [ -e go ]; do sleep 0.02; done; echo went", tmp_path, on_line=answer)
    assert done.tail == ("ready", "went")


def test_a_line_without_its_end_is_handed_on_at_the_exit(tmp_path: Path) -> None:
    assert bash("printf half", tmp_path).tail == ("half",)


def test_progress_bars_become_lines(tmp_path: Path) -> None:
    assert bash(r"printf '10 %%\r20 %%\rdone\r\n'", tmp_path).tail == ("10 %", "20 %", "done")


def test_secrets_are_redacted_everywhere(tmp_path: Path) -> None:
    seen: list[str] = []
    done = bash(f"echo password is {SECRET}", tmp_path, on_line=seen.append)
    assert seen == list(done.tail) == [f"password is {MASK}"]
    with pytest.raises(TimedOut) as raised:
        bash(f"echo {SECRET}; exec sleep 60", tmp_path, timeout_s=0.5)
    assert SECRET not in str(raised.value)
    assert MASK in str(raised.value)


@pytest.mark.parametrize("before", [16384 - 10, 16384 + 8192 - 10])
def test_a_secret_across_the_cut_of_a_long_line_is_not_half_shown(tmp_path: Path, before: int) -> None:
    script = f"head -c {before} /dev/zero | tr '\\0' x; printf %s {SECRET}; head -c 99999 /dev/zero | tr '\\0' y"
    [line] = bash(script, tmp_path).tail
    assert len(line) < 16384 + 100
    assert line.endswith("[the rest of this line was cut]")
    assert SECRET[:3] not in line.replace(MASK, "")


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    assert bash(r"printf 'a\xff\0b\n'", tmp_path).tail == ("a\ufffd\ufffdb",)


def test_a_gigabyte_without_a_line_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        done = run(["head", "-c", "1G", "/dev/zero"], cwd=tmp_path, timeout_s=120, redact=str)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert done.exit_code == 0
    assert peak_bytes < 4 * 2**20


def test_captured_output_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="printed more than 64 MiB"):
        run(["head", "-c", "1G", "/dev/zero"], cwd=tmp_path, timeout_s=60, redact=str, capture_stdout=True)


def test_a_timeout_ends_everything_that_was_started(tmp_path: Path) -> None:
    with pytest.raises(TimedOut) as raised:
        bash("sleep 600 & echo $! > child; echo $$ > leader; printf 'Password: '; wait", tmp_path, timeout_s=0.5)
    assert is_gone(pid_in(tmp_path / "child"))
    assert is_gone(pid_in(tmp_path / "leader"))
    assert raised.value.facts["last lines"] == "Password: "


def test_a_command_that_outlives_its_own_output_is_still_timed_out(tmp_path: Path) -> None:
    with pytest.raises(TimedOut, match="it printed nothing"):
        bash("exec >&- 2>&-; exec sleep 600", tmp_path, timeout_s=0.5)


def test_a_timeout_lets_a_command_clean_up_first(tmp_path: Path) -> None:
    with pytest.raises(TimedOut):
        bash("trap 'touch cleaned; exit' TERM; while :; do sleep 0.05; done", tmp_path, timeout_s=0.5)
    assert (tmp_path / "cleaned").exists()


def test_a_command_that_ignores_the_request_to_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "_GRACE_S", 0.5)
    with pytest.raises(TimedOut):
        bash("trap '' TERM; echo $$ > leader; while :; do sleep 0.05; done", tmp_path, timeout_s=0.5)
    assert is_gone(pid_in(tmp_path / "leader"))


def test_children_left_behind_are_ended_and_do_not_delay_the_return(tmp_path: Path) -> None:
    done = bash("sleep 600 & echo $! > child; echo done", tmp_path, timeout_s=60)
    assert done.tail == ("done",)
    assert is_gone(pid_in(tmp_path / "child"))


def test_a_grandchild_in_its_own_session_that_holds_the_pipe_does_not_hang_the_run(tmp_path: Path) -> None:
    done = bash("setsid bash -c 'echo $$ > escaped; exec sleep 600' & until [ -s escaped ]; do :; done", tmp_path)
    escaped = pid_in(tmp_path / "escaped")
    try:
        assert done.exit_code == 0
        assert is_alive(escaped)
    finally:
        os.kill(escaped, signal.SIGKILL)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_an_error_while_handing_on_a_line_ends_the_command(tmp_path: Path, error: type[BaseException]) -> None:
    def fail(line: str) -> None:
        raise error(line)

    with pytest.raises(error):
        bash("echo $$ > leader; echo hello; exec sleep 600", tmp_path, on_line=fail)
    assert is_gone(pid_in(tmp_path / "leader"))


def test_an_interrupt_from_the_keyboard_ends_the_command(tmp_path: Path) -> None:
    program = (
        # Whoever runs the tests in the background may have SIGINT ignored, which children inherit.
        "import pathlib, signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from blocks.shell import run;"
        "run(['bash', '-c', 'echo $$ > leader; sleep 600'], cwd=pathlib.Path('.'), timeout_s=600, redact=str)"
    )
    python = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        leader = pid_in(tmp_path / "leader")
        python.send_signal(signal.SIGINT)
        assert python.wait(20) != 0
    finally:
        python.kill()
        python.wait()
    assert is_gone(leader)


def test_a_timeout_of_prefect_in_a_thread_ends_the_command(tmp_path: Path) -> None:
    begun = threading.Event()

    def work() -> None:
        with pytest.raises(TimeoutError):
            # A line that is passed on shows that the thread is past the start of the process.
            bash("echo $$ > leader; echo begun; exec sleep 600", tmp_path, timeout_s=600, on_line=lambda _: begun.set())
        (tmp_path / "interrupted").touch()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert begun.wait(20)
    leader = pid_in(tmp_path / "leader")
    assert thread.ident is not None
    # What Prefect does to a synchronous task in a thread.
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(TimeoutError))
    thread.join(20)
    assert (tmp_path / "interrupted").exists()
    assert is_gone(leader)


def test_a_missing_program_is_refused_with_the_places_looked_in(tmp_path: Path) -> None:
    with pytest.raises(Refused) as raised:
        run(["no-such-scanner"], cwd=tmp_path, timeout_s=1, redact=str, path=["/opt/tools"])
    assert "no-such-scanner" in raised.value.what
    assert str(raised.value.facts["looked in"]).startswith("/opt/tools:")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="gone"):
        run(["true"], cwd=tmp_path / "gone", timeout_s=1, redact=str)


def test_a_file_that_is_no_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(b"\x7fELF nonsense")
    (tmp_path / "tool").chmod(0o755)
    with pytest.raises(Refused, match="Exec format error"):
        run(["./tool"], cwd=tmp_path, timeout_s=1, redact=str)


def test_an_argument_with_a_null_byte_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="null byte"):
        run(["true", "a\0b"], cwd=tmp_path, timeout_s=1, redact=str)


def test_programs_are_looked_for_in_the_given_folders_first(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "true").write_text("#!/bin/sh\necho ours\n")
    (tools / "true").chmod(0o755)
    assert run(["true"], cwd=tmp_path, timeout_s=9, redact=str, path=[str(tools)]).tail == ("ours",)
    assert run(["tools/true"], cwd=tmp_path, timeout_s=9, redact=str).tail == ("ours",)


def test_shell_characters_are_not_interpreted(tmp_path: Path) -> None:
    assert run(["echo", "$(id)", "a;b", "*"], cwd=tmp_path, timeout_s=9, redact=str).tail == ("$(id) a;b *",)


def test_a_process_that_may_not_be_ended_is_reported_as_unsafe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "_GRACE_S", 0.5)
    if os.geteuid() != 0:
        missing("only root can make a program that becomes another user")
    become_root = tmp_path / "become-root"
    shutil.copy(need("setpriv"), become_root)
    become_root.chmod(0o755 | stat.S_ISUID)
    for folder in pytest_folders(tmp_path):
        folder.chmod(0o777)
    script = f"{become_root} --reuid 0 --regid 0 --clear-groups bash -c 'echo $$ > {tmp_path}/leader; exec sleep 600'"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            bash(f"exec {script}", tmp_path, timeout_s=0.5)
        except Unsafe as error:
            code = 0 if f"process {pid_in(tmp_path / 'leader')} may still be running" in str(error) else 2
        finally:
            os._exit(code)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        os.kill(pid_in(tmp_path / "leader"), signal.SIGKILL)

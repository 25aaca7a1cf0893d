"""The documentation is true: its links lead somewhere, its files load, its commands exist, its examples work."""

import configparser
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer
import yaml

from blocks.context import Context
from blocks.prober import HttpProber
from blocks.stores.s3 import S3Store
from deployments.cli import Exit, app
from tasks.common.errors import Refused
from tests.support.docs import FOR_REAL, ROOT, blocks_of, files_of, load, prose, section
from tests.support.needs import need
from tests.support.processes import free_port, listens, running, short_folder, wait_until

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
OWN_APP = ROOT / "docs/how-to/your-own-app.md"
COMMAND_LINE = ROOT / "docs/reference/command-line.md"
CLI: Any = typer.main.get_command(app)
UsageError: Any = typer.BadParameter.__base__
"""What Typer raises for a command that is used wrongly; it brings its own copy of Click."""

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_ANCHOR = re.compile(r'<a id="([^"]+)">')


def anchors(text: str) -> set[str]:
    headings = {re.sub(r"[^\w\- ]", "", found.lower()).replace(" ", "-") for found in _HEADING.findall(prose(text))}
    return headings | set(_ANCHOR.findall(text))


def links(page: Path) -> list[tuple[str, Path, str]]:
    """Return every link of a page into this repository: as written, the file, the anchor."""
    found = []
    for link in _LINK.findall(prose(page.read_text(encoding="utf-8"))):
        path, _, anchor = unquote(link).partition("#")
        if "://" not in link:
            found.append((link, (page.parent / path).resolve() if path else page, anchor))
    return found


def dead_links(page: Path) -> list[str]:
    return [
        link
        for link, target, anchor in links(page)
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8")))
    ]


def commands(page: Path) -> Iterator[list[str]]:
    """Yield every command of a page's shell blocks as words; what shells add to it is left out."""
    for block in blocks_of(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = re.findall(r'"[^"]*"|\S+', line)
            while words and "=" in words[0]:
                words = words[1:]
            if words:
                yield words


def inline_commands(page: Path) -> Iterator[list[str]]:
    """Yield every `slipway ...` of a page's text that is given with its arguments."""
    for line in re.findall(r"`(?:\.venv/bin/)?(slipway [^`]+)`", prose(page.read_text(encoding="utf-8"))):
        yield line.replace("[", "").replace("]", "").split()


def is_meant_itself(group: Any, arguments: list[str]) -> bool:
    """Return whether a group of commands is called without one of them, and does something then."""
    return group.invoke_without_command and not any(each in group.commands for each in arguments)


def usage_problem(words: list[str]) -> str:
    """Return what the command line has against a command, without running it."""
    command, arguments = CLI, words[1:]
    try:
        while hasattr(command, "commands") and not is_meant_itself(command, arguments):
            name, command, arguments = command.resolve_command(typer.Context(command), arguments)
        command.make_context(name, list(arguments))
    except UsageError as error:
        return error.format_message()
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page) == []


def test_dead_link_and_dead_anchor_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# One thing\n[x](b.md) [y](#one-thing) [z](#other) [w](https://a.example)\n")
    assert dead_links(tmp_path / "a.md") == ["b.md", "#other"]


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        if page not in reached:
            reached.add(page)
            left += [target for _, target, _ in links(page) if target.suffix == ".md"]
    assert set(PAGES) - reached == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_yaml_is_accepted_by_what_reads_it(page: Path) -> None:
    for block in blocks_of(page, "yaml"):
        load(block)


def test_mistake_in_a_documented_file_is_found() -> None:
    text = files_of(OWN_APP)["var/hello/place/estate.yaml"]
    with pytest.raises(Refused, match=r"router.sockets: found an unknown key"):
        load(text.replace("socket: haproxy.sock", "sockets: haproxy.sock"))


@pytest.mark.parametrize(
    ("page", "right", "wrong", "said"),
    [
        ("gate-a-release.md", "at_most: 300ms", "at_most: 300MB", r"gates\[1\].at_most: found the text"),
        ("gate-a-release.md", "figure: /count", "figur: /count", r"gates\[0\].http.figur: found an unknown key"),
        ("ask-before-a-release.md", "[start, 25%]", "[start, 26%]", r"approval.before\[1\]: found 26%"),
        ("ask-before-a-release.md", "approval: true", "approval: maybe", r"production.approval"),
        ("check-before-a-release.md", "server_name:", "servername:", r"found an unknown key"),
        ("get-notified.md", "only: [production]", "only: [prod]", r"the unknown environment 'prod'"),
    ],
)
def test_mistake_in_a_documented_part_of_a_file_is_found(page: str, right: str, wrong: str, said: str) -> None:
    (block,) = (text for text in blocks_of(ROOT / "docs/how-to" / page, "yaml") if right in text)
    with pytest.raises(Refused, match=said):
        load(block.replace(right, wrong))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_exist_and_take_the_arguments_that_they_are_given(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for words in inline_commands(page):
        # A sentence may name a command without its arguments.
        assert usage_problem(words)[:16] in ("", "Missing argument"), words
    for words in commands(page):
        program = words[0].removeprefix(".venv/bin/")
        if program == "slipway":
            assert usage_problem(words) == "", words
        elif program == "make":
            assert set(words[1:]) <= targets, words
        elif program != words[0]:
            assert (Path(sys.executable).parent / program).exists(), words


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("slipway relase hello main", "No such command"),
        ("slipway release hello main --too staging", "No such option"),
        ("slipway release hello", "Missing argument"),
        ("slipway status hello", "unexpected extra argument"),
        ("slipway backups --plans", "No such option"),
        ("slipway backups hold campus-db/1/20261122F", "Missing option '--reason'"),
    ],
)
def test_wrong_command_is_found(line: str, said: str) -> None:
    assert said in usage_problem(line.split())


def leaves(command: Any = CLI, name: str = "") -> dict[str, set[str]]:
    """Return the options of every command by its name; also of groups that do something by themselves."""
    found: dict[str, set[str]] = {}
    if not hasattr(command, "commands") or command.invoke_without_command:
        options = [each for each in command.params if each.param_type_name == "option"]
        found[name] = {text for each in options for text in (*each.opts, *each.secondary_opts)} - {"--help"}
    for each, sub in getattr(command, "commands", {}).items():
        found |= leaves(sub, f"{name} {each}".strip())
    return found


def test_reference_lists_every_command() -> None:
    shown = re.findall(r"^\| `slipway ((?:[a-z][a-z-]* ?)+)", section(COMMAND_LINE, "Commands"), re.MULTILINE)
    assert sorted(name.strip() for name in shown) == sorted(leaves())


def test_reference_lists_every_option_with_its_commands() -> None:
    documented: dict[str, set[str]] = {name: set() for name in leaves()}
    for option, where in re.findall(r"^\| (`--.+?) \| (.+?) \|", section(COMMAND_LINE, "Options"), re.MULTILINE):
        for name in re.findall(r"`([^`]+)`", where):
            documented[name] |= set(re.findall(r"--[a-z-]+", option))
    assert documented == leaves()


def test_reference_lists_every_exit_code() -> None:
    shown = re.findall(r"^\| (\d+) \| ([a-z-]+) \|", section(COMMAND_LINE, "Exit codes"), re.MULTILINE)
    assert {int(code): name for code, name in shown} == {
        each.value: each.name.lower().replace("_", "-") for each in Exit
    }


def test_page_for_the_night_has_the_same_exit_codes() -> None:
    rows = re.findall(
        r"^\| ([a-z -]+) \| (\d) \|", section(ROOT / "docs/how-to/roll-back.md", "What the outcome means"), re.MULTILINE
    )
    codes = {name.replace(" ", "-"): int(code) for name, code in rows}
    wanted = {each.name.lower().replace("_", "-"): each.value for each in Exit}
    wanted["succeeded"] = wanted.pop("done")
    # Said by a command that changes nothing, and so no outcome.
    del wanted["differs"]
    assert codes == wanted | {"running": Exit.UNSAFE, "interrupted": Exit.UNSAFE}


@pytest.fixture
def hello() -> Iterator[Path]:
    """The files of the page about one's own app, written where the page says."""
    with short_folder() as folder:
        for name, text in files_of(OWN_APP).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        yield folder / "var/hello"


def run(*argv: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, argv)], cwd=cwd, capture_output=True, text=True, timeout=60)


def service_of(page: Path) -> Any:
    return load(files_of(page)["var/hello/app/slipway.yaml"])


def test_steps_of_the_own_app_pass_as_its_service_file_runs_them(hello: Path) -> None:
    (step,) = service_of(OWN_APP).test.steps
    assert run(sys.executable, *step.command[1:], cwd=hello / "app").returncode == 0
    (hello / "app/hello.py").write_text("def answer(path: str) -> tuple[int, str]:\n    return 500, path\n")
    assert run(sys.executable, *step.command[1:], cwd=hello / "app").returncode != 0


@pytest.mark.server
def test_own_app_answers_as_its_service_file_expects(hello: Path) -> None:
    service, port = service_of(OWN_APP), free_port()
    argv = [sys.executable, *service.run.command[1:]]
    with running(argv, log=hello / "log", cwd=hello / "app", env={service.run.port_variable: str(port)}):
        wait_until(lambda: listens(port), what="the app")
        prober = HttpProber(HttpProber.Settings(), Context(base=hello))
        wanted = [*service.smoke, *service.validation.critical_features]
        assert [result.problem for result in prober.probe(f"http://127.0.0.1:{port}", wanted)] == [""] * len(wanted)


@pytest.mark.server
def test_own_haproxy_is_configured_by_the_documented_script(hello: Path) -> None:
    (hello / "place/haproxy").mkdir()
    written = run(sys.executable, hello / "place/write_haproxy.py", cwd=ROOT)
    assert written.returncode == 0, written.stderr
    checked = run(need("haproxy"), "-c", "-f", hello / "place/haproxy.cfg", cwd=hello)
    assert checked.returncode == 0, checked.stderr


def test_parts_of_the_own_place_name_the_same_ports(hello: Path) -> None:
    estate: Any = load((hello / "place/estate.yaml").read_text())
    script, servers = ((hello / "place" / name).read_text() for name in ("write_haproxy.py", "supervisord.conf"))
    (job,) = yaml.safe_load((hello / "place/prometheus.yml").read_text())["scrape_configs"]
    production = estate.environments["production"]
    assert f'address="{production.url.removeprefix("http://")}"' in script
    assert f'metrics_address="{job["static_configs"][0]["targets"][0]}"' in script
    assert f"--web.listen-address={production.metrics.settings['url'].removeprefix('http://')}" in servers
    config = configparser.RawConfigParser()
    config.read_string(servers)
    for section_name, key, setting in [
        ("unix_http_server", "file", production.runtime.settings["socket"]),
        ("include", "files", f"{production.runtime.settings['programs']}/*.conf"),
    ]:
        assert config[section_name][key] == f"%(here)s/{setting}"


def test_documented_driver_keeps_an_archive(tmp_path: Path) -> None:
    names: dict[str, Any] = {"__name__": "shelf"}
    code, line = blocks_of(ROOT / "docs/how-to/add-a-driver.md", "python")
    exec(code, names)
    store = names["ShelfStore"](names["ShelfStore"].Settings(shelf="shelf"), Context(base=tmp_path))
    (tmp_path / "archive").write_bytes(b"content")
    digest = store.put(tmp_path / "archive")
    store.fetch(digest, tmp_path / "copy")
    assert ((tmp_path / "copy").read_bytes(), store.digests()) == (b"content", (digest,))
    store.delete(digest)
    with pytest.raises(Refused):
        store.fetch(digest, tmp_path / "copy")
    assert "blocks.stores.shelf:ShelfStore" in line


def test_documented_sections_are_those_of_haproxy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks_of(FOR_REAL, "python")
    assert "/var/lib/slipway/haproxy" in code
    exec(code.replace("/var/lib/slipway/haproxy", str(tmp_path)), {})
    assert "frontend hello_production" in capsys.readouterr().out
    assert (tmp_path / "hello_production.map").exists()


def test_documented_lifecycle_rule_covers_what_the_store_uploads() -> None:
    (rules,) = map(json.loads, blocks_of(FOR_REAL, "json"))
    (rule,) = rules["Rules"]
    assert rule["Filter"]["Prefix"] == f"{S3Store.Settings.model_fields['prefix'].default}/"
    assert rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] >= 1


def test_hooks_run_tools_that_the_lock_file_installs() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        program, *_ = hook["entry"].split()
        assert (Path(sys.executable).parent / Path(program).name).exists(), program

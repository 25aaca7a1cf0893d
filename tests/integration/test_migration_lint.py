"""squawk as the lint of migrations asks it, for real; and the lint as a scan of a release."""

import sys
from datetime import date
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from blocks.context import Context
from blocks.migrations.squawk import squawk
from blocks.scanners.report import ReportScanner
from deployments.migration_command import app
from tasks.common.errors import Refused
from tasks.common.migrations import Phase
from tasks.migration.lint import Part
from tasks.scan.judge import judge
from tasks.scan.model import Finding
from tests.support.docs import ROOT
from tests.support.migrating import CUSTOMERS, NAMES, changed, fill
from tests.support.scan_docs import migrations_scan

_EARLY, _LATE = ("prepare", Phase.PREPARE), ("cleanup", Phase.CLEANUP)


def _asked(text: str, phase: Phase = Phase.PREPARE, **fields: bool) -> list[tuple[str, int, str]]:
    part = Part(f"0001_x/{phase}.sql", phase, text, **fields)
    return [(each.rule, each.line, each.level) for each in squawk([part], lambda text: text)]


@pytest.mark.parametrize(
    ("statement", "rule", "level"),
    [
        ("create index i on customer (first)", "require-concurrent-index-creation", "error"),
        ("create unique index i on customer (first)", "require-concurrent-index-creation", "error"),
        ("drop index i", "require-concurrent-index-deletion", "error"),
        ("alter table customer add check (first <> '')", "constraint-missing-not-valid", "error"),
        ("alter table customer add unique (first)", "disallowed-unique-constraint", "error"),
        (
            "alter table customer add column at timestamptz default clock_timestamp()",
            "adding-field-with-default",
            "error",
        ),
        ("alter tabel customer add column x int", "syntax-error", "error"),
        ("create table other (id int)", "prefer-bigint-over-int", "note"),
        ("alter table customer drop constraint k", "ban-drop-constraint", "warning"),
    ],
)
def test_squawk_finds_a_planted_fault_where_it_is(statement: str, rule: str, level: str) -> None:
    assert (rule, 3, level) in _asked(f"-- first\nselect 1;\n{statement};")


@pytest.mark.parametrize(
    "statement",
    [
        "alter table customer add column kind text",
        "alter table customer add constraint k check (first <> '') not valid",
        "create index concurrently i on customer (first)",
        "create table other (id bigint primary key); create index i on other (id)",
        "alter table customer drop column first",
        "alter table customer rename column first to f",
    ],
)
def test_squawk_says_nothing_of_what_is_sound_or_ours_to_say(statement: str) -> None:
    assert _asked(statement) == []


def test_squawk_is_asked_about_a_rewrite_in_cleanup_and_not_of_what_may_go_there() -> None:
    text = "alter table customer drop constraint k;\nalter table customer alter column id type bigint;"
    assert _asked(text, Phase.CLEANUP) == [("changing-column-type", 2, "error")]
    assert _asked("alter table customer drop constraint if exists k;", undo=True) == []


def test_a_comment_cannot_tell_squawk_what_to_leave_out() -> None:
    text = "-- squawk-ignore-file\n-- squawk-ignore require-concurrent-index-creation\ncreate index i on c (a);"
    assert _asked(text) == [("require-concurrent-index-creation", 3, "error")]


def test_nothing_to_look_at_is_nothing_found() -> None:
    assert squawk([], lambda text: text) == ()


def test_all_files_are_looked_at_and_told_in_order() -> None:
    parts = [
        Part(f"{number:04}_x/{name}.sql", phase, "drop index i")
        for number in range(300)
        for name, phase in (_EARLY, _LATE)
    ]
    found = squawk(parts, lambda text: text)
    assert [each.path for each in found] == sorted(each.path for each in parts)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("exit 2", "exit code 2"),
        ("echo '['; exit 1", "mistakes in what it wrote"),
        ("echo '[]'; exit 1", "exit code 1 with 0 findings"),
        ("exit 0", "mistakes in what it wrote"),
    ],
)
def test_a_fake_squawk_that_gives_no_answer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, told: str
) -> None:
    (tmp_path / "squawk").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "squawk").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(Refused, match=told):
        _asked("select 1")


def test_lint_is_refused_where_squawk_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused, match="squawk"):
        _asked("select 1")


@pytest.mark.server
def test_command_tells_how_large_a_table_is(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(database_url, CUSTOMERS.format(rows=3000))
    estate = yaml.safe_load((ROOT / "docs/reference/examples/estate.yaml").read_text())
    connection = {"driver": "postgresql", "address": "file:address"}
    estate["environments"]["staging"]["databases"] = {"campus": {"connection": connection}}
    (tmp_path / "estate.yaml").write_text(yaml.safe_dump(estate))
    (tmp_path / "address").write_text(database_url)
    for path, text in changed(_SOUND, prepare__sql="create index i on customer (first);").items():
        (tmp_path / "migrations" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "migrations" / path).write_text(text)
    monkeypatch.setenv("SLIPWAY_ESTATE", str(tmp_path / "estate.yaml"))
    done = CliRunner().invoke(app, ["lint", str(tmp_path / "migrations"), "--service", "campus", "--in", "staging"])
    assert done.exit_code == 1
    assert "prepare.sql:1: error: require-concurrent-index-creation" in done.output
    assert "(customer: about 3,000 rows, 0." in done.output


# Among the scans of a release

_SOUND = changed(
    NAMES,
    prepare__sql="alter table customer add column full_name text;\n",
    validate__sql="-- unnamed\nselect id from customer where full_name is null;\n",
)


class Release:
    """A tree of a commit with migrations, and the scan that a release runs over it."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "tree"
        self._spec = migrations_scan(folder / "tools")
        context = Context(base=folder, path=(str(folder / "tools"),))
        self._scanner = ReportScanner(ReportScanner.Settings(), context)
        self.tree.mkdir()
        (self.tree / ".squawk.toml").write_text('excluded_rules = ["require-concurrent-index-creation"]\n')

    def scan(self, **texts: str | None) -> tuple[tuple[Finding, ...], bool]:
        """Return what is found, and whether it blocks."""
        for path, text in changed(_SOUND, **texts).items():
            (self.tree / "migrations" / path).parent.mkdir(parents=True, exist_ok=True)
            (self.tree / "migrations" / path).write_text(text)
        return self.again()

    def again(self) -> tuple[tuple[Finding, ...], bool]:
        report = self._scanner.scan(self.tree, self._spec, env={}, on_line=lambda line: None)
        return report.findings, bool(judge([(self._spec, report)], [], None, date(2026, 11, 23)).blocking)


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path)


def test_sound_migrations_pass_the_scan_of_a_release(release: Release) -> None:
    assert release.scan() == ((), False)


@pytest.mark.parametrize(
    ("texts", "path", "line", "rule"),
    [
        ({"prepare__sql": "\ndrop table customer;"}, "prepare.sql", 2, "destroys-before-cleanup"),
        ({"prepare__sql": "create index i on customer (id);"}, "prepare.sql", 1, "require-concurrent-index-creation"),
        ({"execute__undo__sql": " "}, "execute.undo.sql", 1, "undo-missing"),
        ({"cleanup__sql": "drop table 'x"}, "cleanup.sql", 1, "mistake"),
    ],
)
def test_planted_fault_blocks_a_release(
    release: Release, texts: dict[str, str], path: str, line: int, rule: str
) -> None:
    (found,), blocks = release.scan(**texts)
    assert (found.path, found.line, found.rule) == (f"migrations/0001_full_name/{path}", line, rule)
    assert found.severity == "high" and blocks


def test_tree_without_its_folder_of_migrations_is_refused(release: Release) -> None:
    release.scan()
    (release.tree / "migrations").rename(release.tree / "elsewhere")
    with pytest.raises(Refused, match="did not run to its end"):
        release.again()

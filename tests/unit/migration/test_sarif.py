"""The findings of migrations are read by the scans of a release."""

import json
from pathlib import PurePosixPath

from tasks.migration.lint import Finding
from tasks.migration.sarif import sarif
from tasks.scan.parse import parse_report

_TREE = PurePosixPath("/tree")
_FOUND = (
    Finding("0001_x/prepare.sql", 3, "destroys-before-cleanup", "'drop table x' takes something away"),
    Finding("0001_x/prepare.sql", 4, "identifier-too-long", "too long", "warning"),
    Finding("0001_x/cleanup.sql", 1, "prefer-text-field", "text", "note"),
    Finding("0001_x/cleanup.sql", 2, "prefer-text-field", "text", "note"),
)


def test_each_finding_is_read_with_its_severity_from_the_repositorys_root() -> None:
    text = json.dumps(sarif(_FOUND, PurePosixPath("db/migrations")))
    read = parse_report("sarif", text, tool="migrations", tree=_TREE)
    assert [(each.rule, each.severity, each.path, each.line) for each in read] == [
        ("destroys-before-cleanup", "high", "db/migrations/0001_x/prepare.sql", 3),
        ("identifier-too-long", "medium", "db/migrations/0001_x/prepare.sql", 4),
        ("prefer-text-field", "low", "db/migrations/0001_x/cleanup.sql", 1),
        ("prefer-text-field", "low", "db/migrations/0001_x/cleanup.sql", 2),
    ]
    assert read[0].message == "'drop table x' takes something away"


def test_nothing_found_is_a_whole_report() -> None:
    assert parse_report("sarif", json.dumps(sarif((), PurePosixPath("."))), tool="migrations", tree=_TREE) == ()

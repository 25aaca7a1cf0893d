"""The scans that the documentation shows, read as the service file's loader reads them."""

import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tasks.common.load import load_service
from tasks.common.service import Scan, ServiceFile

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "scan-with-other-tools.md"
_EXAMPLE = PAGE.parents[1] / "reference" / "examples" / "blue-green.yaml"
_BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SCANS = re.compile(r"^scan:\n(?:[ ].*\n)+", re.MULTILINE)


def documented_blocks() -> list[str]:
    """Return the page's examples as they are printed."""
    return _BLOCK.findall(PAGE.read_text(encoding="utf-8"))


def service_with(block: str) -> ServiceFile:
    """Return a service file with the block in place of its scans."""
    text, replaced = _SCANS.subn(lambda _: block, _EXAMPLE.read_text(encoding="utf-8"))
    assert replaced == 1
    return load_service(text, "slipway.yaml")


def documented_scans(*changes: tuple[str, str]) -> Iterator[Scan]:
    """Yield the scans of the page's sections, after changes of their text."""
    for block in documented_blocks():
        if "accepted_findings" not in block:
            changed = functools.reduce(lambda text, change: text.replace(*change), changes, block)
            yield from service_with(changed).scan


def migrations_scan(tools: Path) -> Scan:
    """Return the scan of migrations as the page has it; this very checkout's program for it is made in a folder."""
    tools.mkdir()
    # The installed one may be another checkout's.
    root = Path(__file__).resolve().parents[2]
    (tools / "slipway").write_text(f'#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} -P -m deployments.cli "$@"\n')
    (tools / "slipway").chmod(0o755)
    return next(each for each in documented_scans() if each.tool == "migrations")

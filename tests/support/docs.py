"""The documentation as tests read it: its blocks, the files in it, its sections and tables."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from blocks import DRIVERS
from blocks.estate import settings_model
from tasks.common.estate import Estate
from tasks.common.load import load_estate, load_masking, load_service, load_suites
from tasks.common.service import ServiceFile

ROOT = Path(__file__).resolve().parents[2]
FOR_REAL = ROOT / "docs/how-to/run-it-for-real.md"
_EXAMPLES = ROOT / "docs/reference/examples"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^`([^`\n]+)`\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks_of(page: Path, *languages: str) -> list[str]:
    """Return the fenced blocks in one of the languages, in order."""
    return [body for language, body in _FENCE.findall(page.read_text(encoding="utf-8")) if language in languages]


def files_of(page: Path) -> dict[str, str]:
    """Return the blocks that stand under a file's name, by that name."""
    return dict(_FILE.findall(page.read_text(encoding="utf-8")))


def prose(text: str) -> str:
    """Return the text without its fenced blocks."""
    return _FENCE.sub("", text)


def load(text: str) -> object:
    """Load a YAML block as what it is; a part of one of our files takes its place in the reference's example.

    Raises:
        Refused: it has mistakes.
    """
    part = yaml.safe_load(text)
    keys = part.keys() if isinstance(part, dict) else {""}
    if text.startswith("service:"):
        return load_service(text, "slipway.yaml")
    if text.startswith("estate:"):
        return load_estate(text, "estate.yaml", settings_model, DRIVERS)
    if text.startswith("table:"):
        return load_suites({"expectations/table.yaml": text})
    if "masking" in keys:
        return load_masking(text, "masking.yaml")
    if keys <= ServiceFile.model_fields.keys():
        whole = {**yaml.safe_load((_EXAMPLES / "slipway.yaml").read_text()), **part}
        return load_service(yaml.safe_dump(whole), "slipway.yaml")
    if keys <= Estate.model_fields.keys():
        whole = _merged(yaml.safe_load((_EXAMPLES / "estate.yaml").read_text()), part)
        return load_estate(yaml.safe_dump(whole), "estate.yaml", settings_model, DRIVERS)
    return part


def _merged(whole: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mapping with the part's values in place of its own, however deep they stand."""
    inner = {key: _merged(whole[key], value) for key, value in part.items() if isinstance(value, dict) and key in whole}
    return {**whole, **part, **inner}


def section(page: Path, title: str) -> str:
    """Return the text of a section of the second level; nothing where there is none."""
    return page.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def firsts(page: Path, title: str) -> list[str]:
    """Return the first cells of a section's tables, without their heads."""
    return re.findall(r"^\| (?!-)(.+?) \|.*$(?!\n\|-)", section(page, title), re.MULTILINE)

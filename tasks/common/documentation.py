"""What is published about the files that people write: JSON Schemas for editors, and the reference in Markdown.

Both are made from the models, so that neither can say anything else than what the loader does.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tasks.common.drills import Experiment
from tasks.common.estate import Estate
from tasks.common.expectations import Suite
from tasks.common.masking import Masking
from tasks.common.secrets import PATTERN, WORDS
from tasks.common.service import ServiceFile
from tasks.common.units import (
    ADDRESS_PATTERN,
    COLUMN_PATTERN,
    DATE_PATTERN,
    DNS_NAME_PATTERN,
    DURATION_PATTERN,
    HOST_AND_PORT_PATTERN,
    MOMENT_PATTERN,
    NAME_PATTERN,
    PATH_PATTERN,
    PATTERN_WORDS,
    PERCENT_PATTERN,
    POSITIVE_DURATION_PATTERN,
    SIZE_PATTERN,
    SPOT_PATTERN,
    SYSTEM_ID_PATTERN,
    TABLE_PATTERN,
    VARIABLE_PATTERN,
    write_duration,
    write_percent,
    write_size,
)
from tasks.migration.files import MigrationFile
from tasks.migration.mongodb_file import MongodbFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_WRITERS: dict[str, Callable[[Any], str]] = {
    DURATION_PATTERN: write_duration,
    POSITIVE_DURATION_PATTERN: write_duration,
    PERCENT_PATTERN: write_percent,
    SIZE_PATTERN: write_size,
}
_KINDS = {
    DURATION_PATTERN: ("duration", "ms, s, m, h, d"),
    POSITIVE_DURATION_PATTERN: ("duration above zero", "ms, s, m, h, d"),
    PERCENT_PATTERN: ("percentage", "%"),
    SIZE_PATTERN: ("size", "KiB, MiB, GiB, TiB"),
    DATE_PATTERN: ("date", ""),
    NAME_PATTERN: ("name", ""),
    VARIABLE_PATTERN: ("variable", ""),
    PATH_PATTERN: ("path", ""),
    ADDRESS_PATTERN: ("address", ""),
    PATTERN: ("reference to a secret", ""),
    TABLE_PATTERN: ("table", ""),
    COLUMN_PATTERN: ("column", ""),
    SPOT_PATTERN: ("table and column", ""),
    MOMENT_PATTERN: ("moment", ""),
    HOST_AND_PORT_PATTERN: ("host and port", ""),
    DNS_NAME_PATTERN: ("name of the DNS", ""),
    SYSTEM_ID_PATTERN: ("system identifier", ""),
}
"""Type and unit of what is written by a pattern."""
_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
_FREE = ("properties", "patternProperties", "$defs")
"""Keywords of JSON Schema whose keys are names, and no keywords."""

_ABOUT = {
    "service-file": """\
# The service file

`slipway.yaml` in the application's repository says how one service is built, tested, scanned, run and promoted.
Complete examples, which the tests load: [canary](examples/slipway.yaml), [blue-green](examples/blue-green.yaml),
[rolling](examples/rolling.yaml).
""",
    "estate-file": """\
# The estate file

An estate file describes one place where services run: its environments, and which drivers make up each. A complete
example, which the tests load: [lab](examples/estate.yaml); one with two sites: [failover](examples/failover.yaml).
Beside `driver`, a driver's part of the file holds the driver's own settings.
""",
    "expectations-file": """\
# The expectations file

A file in the folder `expectations/` beside the service's `slipway.yaml` says what one table must look like. A complete
example, which the tests run: [customer](examples/expectations/customer.yaml).
[How to work with them](../how-to/expectations.md).
""",
    "masking-file": """\
# The masking file

The masking file says how a copy of a database is made anonymous. A complete example, which the tests run:
[pagila](examples/masking.yaml). [How a staging copy is made](../how-to/anonymised-staging.md).
""",
    "drill-file": """\
# The drill file

A file in the folder that `drills.experiments` of the estate file names says what is practised: what is believed, what
is done, what should come of it, and when to stop. Complete examples, which the tests load: [postmaster
killed](examples/drills/postmaster-killed.yaml), [Patroni and postmaster killed](examples/drills/node-lost.yaml), [one
instance killed](examples/drills/instance-killed.yaml), [all
instances](examples/drills/all-instances-killed.yaml), [disk full](examples/drills/disk-full.yaml),
[read-only](examples/drills/disk-read-only.yaml), [stalled](examples/drills/leader-stalled.yaml),
[hung](examples/drills/disk-stalled.yaml),
[a page corrupt](examples/drills/page-corrupt.yaml), [a whole site](examples/drills/site-lost.yaml),
[all data](examples/drills/all-data-lost.yaml), partitions:
[leader from etcd](examples/drills/leader-without-etcd.yaml), [from its
replicas](examples/drills/leader-without-replicas.yaml), [from clients](examples/drills/leader-without-clients.yaml),
[one way](examples/drills/leader-deaf.yaml). [How to practise](../how-to/practise-failover.md).
""",
    "migration-file": """\
# The migration file

Each migration is a folder `NNNN_words` in the folder that `migrations` of the service file names. `migration.yaml` in
it says what cannot be said in SQL. Beside it stand `prepare.sql`, `execute.sql`, `validate.sql`, `cleanup.sql` and, for
each phase before the point of no return, its undo: `prepare.undo.sql`, `execute.undo.sql`. A complete example, which
the tests run: [merge names](examples/migrations/0001_merge_names/migration.yaml). [How to
migrate](../how-to/migrate-a-database.md). With `engine: mongodb` it is [another
one](mongodb-migration-file.md).
""",
    "mongodb-migration-file": """\
# The migration file of a MongoDB database

With `engine: mongodb` in `migration.yaml`, all of a migration stands there, and no other file beside it. Expressions,
filters, validators and pipelines are JSON as MongoDB has it; dates, ObjectIds and the like are [Extended
JSON](https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/): `{$oid: "..."}`. A complete example, which
the tests run against mongomock, a fake: [full name](examples/mongodb/0001_full_name/migration.yaml). No real server was
ever tried. [How to migrate](../how-to/migrate-a-database.md).
""",
}
_RULES = """\
All mistakes of a file are reported at once, before anything is done, each with its line, what was found and what is
expected. `{schema}` is the same as a [JSON Schema](https://json-schema.org) for editors: put
`# yaml-language-server: $schema=PATH-TO/{schema}` in the first line.

How values are read:

- A quantity is written with its unit: `30s`, `1h30m`, `0.1%`, `512MiB`. A number without one is refused.
- Only `true` and `false` are truth values. `yes`, `no`, `on` and `off` are text, and so are `22:22`, `0755`, `1_000`
  and `2024-01-01`. Numbers are decimal, without leading zeros.
- Where text is expected, a number or `true` is refused: write it in quotes.
- A key may stand once. Unknown keys are refused. Tags (`!!python/...`) and merge keys (`<<`) are refused; anchors and
  aliases may be used.

| Type | What is expected |
|---|---|
{types}"""


def schema(model: type[BaseModel], name: str) -> dict[str, Any]:
    """Return the JSON Schema of a file, strict, by the names that the file uses.

    Args:
        model: the file's model.
        name: the schema's file name, which becomes its $id.
    """
    made = model.model_json_schema(by_alias=True)
    enums = {f"#/$defs/{each}": body for each, body in made["$defs"].items() if "enum" in body}
    _tidy(made, enums)
    made["$defs"] = {each: body for each, body in made["$defs"].items() if "enum" not in body}
    return {"$schema": DIALECT, "$id": name, **made}


def _tidy(part: Any, enums: Mapping[str, dict[str, Any]]) -> None:
    """Make the schema as strict as the loader, write defaults as a file would, leave out what says nothing."""
    for item in part if isinstance(part, list) else ():
        _tidy(item, enums)
    if not isinstance(part, dict):
        return
    part.pop("discriminator", None)
    if part.get("$ref") in enums:
        part.update({key: value for key, value in enums[part.pop("$ref")].items() if key in ("type", "enum")})
    if "patternProperties" in part:
        part["additionalProperties"] = False
    if isinstance(part.get("default"), int | float) and part.get("pattern") in _WRITERS:
        part["default"] = _WRITERS[part["pattern"]](part["default"])
    for key, value in part.items():
        for each in value.values() if key in _FREE else ():
            each.pop("title", None)
            _tidy(each, enums)
        if key not in ("default", "examples", *_FREE):
            _tidy(value, enums)


def reference(model: type[BaseModel], name: str) -> str:
    """Return the Markdown reference of a file: one section a part, one row a key.

    Args:
        model: the file's model.
        name: 'service-file' or 'estate-file'.
    """
    whole = schema(model, f"{name}.schema.json")
    words = {**PATTERN_WORDS, PATTERN: WORDS}
    types = "".join(f"| {_KINDS[pattern][0]} | {words[pattern]} |\n" for pattern in _KINDS)
    sections = [_ABOUT[name], _RULES.format(schema=f"{name}.schema.json", types=types)]
    for part, places in _parts(whole).items():
        body = whole["$defs"][part] if part else whole
        title = ", ".join(f"`{place}`" for place in places) or "The whole file"
        title += _tag(body)
        sections.append(f'<a id="{part.lower() or "file"}"></a>\n\n## {title}\n\n{body["description"]}\n')
        sections.append(_table(body))
    return "\n".join(sections)


def _tag(body: dict[str, Any]) -> str:
    """Return which of several kinds of part this is: ' with strategy `canary`'."""
    for key in ("strategy", "rule", "type"):
        value = body["properties"].get(key, {})
        tags = [value["const"]] if "const" in value else value.get("enum", ())
        if tags:
            return f" with {key} " + ", ".join(f"`{tag}`" for tag in tags)
    return ""


def _parts(whole: dict[str, Any]) -> dict[str, list[str]]:
    """Return every part of the file in the order in which a reader meets them, with the places where it stands."""
    found: dict[str, list[str]] = {"": []}
    queue = [("", "", whole)]
    while queue:
        place, _, body = queue.pop(0)
        for key, value in body.get("properties", {}).items():
            for suffix, part in _referred(value):
                there = f"{place}.{key}{suffix}".lstrip(".")
                if part not in found:
                    queue.append((there, part, whole["$defs"][part]))
                if there not in found.setdefault(part, []):
                    found[part].append(there)
    return {part: places for part, places in found.items() if "properties" in whole["$defs"].get(part, whole)}


def _referred(value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "$ref" in value:
        yield "", value["$ref"].rpartition("/")[2]
    for branch in [*value.get("anyOf", ()), *value.get("oneOf", ())]:
        yield from _referred(branch)
    if isinstance(value.get("items"), dict):
        yield from ((f"[]{suffix}", part) for suffix, part in _referred(value["items"]))
    for each in _values(value):
        yield from ((f".NAME{suffix}", part) for suffix, part in _referred(each))


def _values(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the schemas of the values of a mapping with free keys."""
    free = value.get("additionalProperties")
    return [*value.get("patternProperties", {}).values(), *([free] if isinstance(free, dict) else [])]


def _table(body: dict[str, Any]) -> str:
    rows = ["| Key | Type | Unit | Default | Meaning |", "|---|---|---|---|---|"]
    required = body.get("required", ())
    for key, value in body["properties"].items():
        default = "required" if key in required else _default(value)
        cells = (f"`{key}`", _kind(value), _unit(value), default, value.get("description", ""))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    if body.get("additionalProperties") is True:
        rows.append("| any other | the driver's own | | | settings of the driver |")
    return "\n".join(rows) + "\n"


def _default(value: dict[str, Any]) -> str:
    default = value.get("default")
    if default is None:
        return "none" if "default" in value else "empty"
    if isinstance(default, dict) and "driver" not in default:
        return "its own defaults" if default else "empty"
    text = default if isinstance(default, str) else json.dumps(default, ensure_ascii=False)
    return f"`{text}`" if text not in ("", "[]") else "empty"


def _unit(value: dict[str, Any]) -> str:
    branches = [value, *value.get("anyOf", ())]
    return next((_KINDS[each["pattern"]][1] for each in branches if each.get("pattern") in _KINDS), "")


def _kind(value: dict[str, Any]) -> str:
    """Return a value's type in words, its bounds included."""
    branches = [each for each in [*value.get("anyOf", ()), *value.get("oneOf", ())] if each.get("type") != "null"]
    if branches:
        return " or ".join(_kind(each) for each in branches)
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in value:
        return "one of " + ", ".join(f"`{each}`" for each in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if value.get("type") == "array":
        return f"list of {_kind(value['items'])}" + (", not empty" if value.get("minItems") else "")
    if value.get("type") == "object":
        values = _values(value)
        kind = f"mapping of names to {_kind(values[0])}" if values else "mapping"
        return kind + (", not empty" if value.get("minProperties") else "")
    return _KINDS[value["pattern"]][0] if value.get("pattern") in _KINDS else _scalar(value)


def _scalar(value: dict[str, Any]) -> str:
    words = _TYPES.get(value.get("type", ""), "anything")
    if value.get("minLength"):
        words += ", not empty"
    bounds = (("minimum", "at least"), ("exclusiveMinimum", "more than"), ("maximum", "at most"))
    limits = [f"{word} {value[key]}" for key, word in bounds if key in value]
    return f"{words} ({', '.join(limits)})" if limits else words


def generate() -> dict[str, str]:
    """Return every published file by its name."""
    files = {}
    models: dict[str, type[BaseModel]] = {
        "service-file": ServiceFile,
        "estate-file": Estate,
        "expectations-file": Suite,
        "masking-file": Masking,
        "drill-file": Experiment,
        "migration-file": MigrationFile,
        "mongodb-migration-file": MongodbFile,
    }
    for name, model in models.items():
        files[f"{name}.md"] = reference(model, name)
        made = schema(model, f"{name}.schema.json")
        files[f"{name}.schema.json"] = json.dumps(made, indent=2, ensure_ascii=False) + "\n"
    return files


def write(folder: Path) -> tuple[Path, ...]:
    """The published files are in the folder, which exists afterwards; returns their paths. *Idempotent:* yes."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in generate().items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return tuple(paths)

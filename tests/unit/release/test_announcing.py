"""There is one place in each capability where something is announced, and no end of a release's run goes past it."""

import ast
from collections.abc import Iterator

from tests.support.docs import ROOT

PLACES = {
    ROOT / f"tasks/{name}_steps.py"
    for name in (
        "release/announce",
        "restore/announce",
        "failover/announce",
        "drill/announce",
        "challenge/conclude",
        "backup/source",
    )
}
PLACES |= {ROOT / f"tasks/{name}/steps.py" for name in ("backup", "verification")}
PLACES |= {ROOT / "deployments/watching/telling.py"}
"""One of each capability, and one that tells what is wrong with a source though its backup is right."""
MODULES = sorted(path for name in ("flows", "tasks", "deployments") for path in (ROOT / name).rglob("*.py"))


def functions(source: str) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            yield node


def called(node: ast.AST) -> set[str]:
    """Return the names of what is called within; of methods, with the name of what they are called on."""
    calls = [each.func for each in ast.walk(node) if isinstance(each, ast.Call)]
    names = {each.id for each in calls if isinstance(each, ast.Name)}
    for each in calls:
        if isinstance(each, ast.Attribute):
            owner = each.value
            names.add(f"{owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, 'id', '')}.{each.attr}")
    return names


def silent_ends(source: str) -> list[str]:
    """Return the functions that end a run on record and announce nothing."""
    found = [each for each in functions(source) if "ledger.end" in called(each)]
    return [each.name for each in found if not any(name.startswith("announce_") for name in called(each))]


def test_one_place_of_a_capability_tells_people_and_sends_events() -> None:
    telling = {path for path in MODULES if {"tell", "emit"} & called(ast.parse(path.read_text(encoding="utf-8")))}
    assert telling == PLACES


def test_who_ends_a_run_on_record_announces_it() -> None:
    texts = [path.read_text(encoding="utf-8") for path in MODULES]
    assert sum("ledger.end" in called(ast.parse(text)) for text in texts) == 2, "this test looks for the wrong thing"
    assert [name for text in texts for name in silent_ends(text)] == []


def test_end_without_a_word_is_found() -> None:
    assert silent_ends("def f(job):\n    job.estate.ledger.end(1)\n\ndef g(x):\n    x.end(1)\n") == ["f"]
    assert silent_ends("def f(estate):\n    estate.ledger.end(1)\n    announce_end(estate)\n") == []

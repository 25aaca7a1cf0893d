"""Wrong files as people write them: each is refused with all its mistakes at once, and with nothing else.

`wrong_files/{service,estate}/NAME.yaml` is the file, `NAME.txt` is every mistake in it as `LINE: PLACE: found ...;
expected ...`. Settings are checked by the models of the real drivers.
"""

import pickle
import traceback
from pathlib import Path

import pytest

from blocks import DRIVERS
from blocks.estate import open_estate, settings_model
from tasks.common.document import LONGEST_TEXT
from tasks.common.errors import Refused
from tasks.common.load import load_estate, load_service
from tests.unit.common.files import example, mistakes_in

WRONG = Path(__file__).parent / "wrong_files"
FILES = sorted(WRONG.glob("*/*.yaml"))
SECRET = "hunter2-hunter2"
BYTES = bytes(range(256))


def load(kind: str, text: str) -> object:
    if kind == "service":
        return load_service(text, "slipway.yaml")
    return load_estate(text, "estate.yaml", settings_model, DRIVERS)


def said_about(kind: str, text: str) -> list[str]:
    return mistakes_in(text, lambda text: load(kind, text))


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}/{path.stem}" for path in FILES])
def test_wrong_file_is_refused_with_all_its_mistakes_at_once(path: Path) -> None:
    wanted = path.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    assert wanted
    assert said_about(path.parent.name, path.read_text(encoding="utf-8")) == wanted


def test_there_are_forty_wrong_files_of_both_kinds_and_most_have_several_mistakes() -> None:
    counts = [len(path.with_suffix(".txt").read_text().splitlines()) for path in FILES]
    assert len(counts) >= 40
    assert {path.parent.name for path in FILES} == {"service", "estate"}
    assert len([count for count in counts if count > 1]) > len(counts) / 2
    assert {path.stem for path in WRONG.glob("*/*.txt")} == {path.stem for path in FILES}


@pytest.mark.parametrize(
    "path", [path for path in FILES if SECRET in path.read_text()], ids=lambda path: str(path.parent.name)
)
def test_secret_in_a_wrong_file_is_nowhere_in_its_refusal(path: Path) -> None:
    with pytest.raises(Refused) as caught:
        load(path.parent.name, path.read_text())
    error = caught.value
    everything = "".join(traceback.format_exception(error)) + pickle.dumps(error).decode("latin-1")
    assert SECRET not in everything
    assert "12345" not in everything


@pytest.mark.parametrize("kind", ["service", "estate"])
def test_file_of_a_megabyte_is_refused_for_its_size_before_it_is_read(kind: str) -> None:
    text = f"description: {'x' * 2**20}\n"
    assert said_about(kind, text) == [f"1: YAML: found {len(text)} characters; expected at most {LONGEST_TEXT}"]


@pytest.mark.parametrize("kind", ["service", "estate"])
def test_program_in_place_of_a_file_is_refused_by_its_first_unprintable_character(kind: str) -> None:
    assert said_about(kind, "service: campus\n\x7fELF\x02\x01\0\0") == [
        "2: YAML: found the unprintable character '\\x7f'; expected printable text"
    ]


def test_estate_file_that_is_no_text_is_refused_by_the_line(tmp_path: Path) -> None:
    path = tmp_path / "estate.yaml"
    path.write_bytes(b"estate: lab\nworkspace: caf\xe9\n" + BYTES)
    with pytest.raises(Refused, match="the estate file is no text: line 2 is not UTF-8") as caught:
        open_estate(str(path))
    assert caught.value.on == str(path)
    assert "save the file as UTF-8" in caught.value.next_action


def test_many_mistakes_are_counted_and_cut_where_nobody_would_read_on() -> None:
    with pytest.raises(Refused) as caught:
        load_service(example("blue-green.yaml") + "".join(f"key{n}: 1\n" for n in range(300)), "slipway.yaml")
    lines = str(caught.value.facts["mistakes"]).splitlines()
    assert (caught.value.what, len(lines)) == ("slipway.yaml has 300 mistakes", 201)
    assert lines[-1] == "... and 100 more"

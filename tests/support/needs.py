"""Programs and libraries that a test needs: missing is a named skip on a laptop, and a failure in CI."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

_PLACES = ("/usr/local/sbin", "/usr/sbin", "/sbin")


TOOLS = Path(__file__).parents[2] / ".tools" / "bin"
"""Programs from PyPI that only the tests need, each in an environment of its own."""


def need(program: str) -> Path:
    """Return the program's path; else skip the test, or fail it where CI is set."""
    found = shutil.which(program) or shutil.which(program, path=os.pathsep.join((*_PLACES, str(TOOLS))))
    if found is None:
        missing(f"{program} is not installed here")
    return Path(found)


def need_faketime() -> Path:
    """Return libfaketime's path, to be preloaded; else skip the test, or fail it where CI is set."""
    found = next(Path("/usr").glob("lib*/**/faketime/libfaketimeMT.so.1"), None)
    if found is None:
        missing("libfaketime is not installed here")
    return found


def missing(what: str) -> NoReturn:
    """Skip the test for want of something, or fail it where CI is set."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI must run everything", pytrace=False)
    pytest.skip(what)

"""What every parser of a report needs: the text as JSON, the JSON as a model, and what is said when it is neither."""

import json
import posixpath
from pathlib import PurePosixPath
from typing import Never, TypeVar

from pydantic import BaseModel, ValidationError

RULE_AT_MOST = 200
MESSAGE_AT_MOST = 500
_PROBLEMS_AT_MOST = 3

Model = TypeVar("Model", bound=BaseModel)


class InvalidReport(ValueError):
    """The text is no complete report of a scan that ran to its end. Its message quotes nothing of the report."""


def document(text: str) -> object:
    """Return what a report says as JSON.

    Raises:
        InvalidReport: it is empty, or no complete JSON.
    """
    if not text.strip():
        raise InvalidReport("the report is empty")
    try:
        # Some tools begin their files with a byte order mark.
        return json.loads(text.removeprefix("\ufeff"), parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise InvalidReport(
            f"the report is no complete JSON: {error.msg}, line {error.lineno} of {text.count(chr(10)) + 1}"
        ) from None
    except RecursionError:
        raise InvalidReport("the report is nested too deeply") from None


def _no_number(constant: str) -> Never:
    raise InvalidReport(f"the report is no JSON: {constant} is no number")


def validated(model: type[Model], document: object, name: str) -> Model:
    """Return the document as a model.

    Args:
        model: what it must be.
        document: JSON data.
        name: the report's format, for the message.

    Raises:
        InvalidReport: it is something else; nothing of it is quoted.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
    more = f" (and {len(problems) - _PROBLEMS_AT_MOST} more)" if len(problems) > _PROBLEMS_AT_MOST else ""
    raise InvalidReport(f"the report is no {name}: {'; '.join(problems[:_PROBLEMS_AT_MOST])}{more}")


def relative(path: str, tree: PurePosixPath) -> str:
    """Return a path that a tool names relative to the tree, if it is inside of it."""
    if not path:
        return ""
    found = PurePosixPath(posixpath.normpath(path))
    return str(found.relative_to(tree)) if found.is_relative_to(tree) else str(found)

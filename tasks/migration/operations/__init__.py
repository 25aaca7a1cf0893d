"""Declared operations: `operations:` of migration.yaml, and the steps that they come to."""

from functools import reduce
from operator import or_
from typing import Annotated, Any

from pydantic import Field

from tasks.migration.operations.base import Operation
from tasks.migration.operations.columns import COLUMNS
from tasks.migration.operations.compiling import Expansion, compile_operations
from tasks.migration.operations.raw import RAW
from tasks.migration.operations.rules import RULES
from tasks.migration.operations.tables import TABLES

OPERATIONS: tuple[type[Operation], ...] = (*TABLES, *COLUMNS, *RULES, *RAW)
"""All operations, by family. A new one is a class, and one entry in its family's list."""

AnyOperation: Any = Annotated[reduce(or_, OPERATIONS), Field(discriminator="operation")]
"""One entry of `operations:`, told by its key `operation`."""

__all__ = ["OPERATIONS", "AnyOperation", "Expansion", "Operation", "compile_operations"]

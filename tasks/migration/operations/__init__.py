"""Declared operations: `operations:` of migration.yaml, and the steps that they come to."""

from typing import Annotated

from pydantic import Field

from tasks.migration.operations.base import Operation
from tasks.migration.operations.columns import (
    AddColumn,
    ChangeType,
    DropColumn,
    MergeColumns,
    RenameColumn,
    SplitColumn,
    StringToArray,
)
from tasks.migration.operations.compiling import Expansion, compile_operations
from tasks.migration.operations.raw import AddEnumValue, CreateEnum, RawSql
from tasks.migration.operations.rules import (
    AddCheck,
    AddForeignKey,
    AddIndex,
    AddUnique,
    ChangePrimaryKey,
    DropConstraint,
    DropDefault,
    DropIndex,
    DropNotNull,
    RenameConstraint,
    SetComment,
    SetDefault,
    SetNotNull,
)
from tasks.migration.operations.tables import CreateTable, DropTable, RenameTable, SetTableComment

AnyOperation = Annotated[
    CreateTable
    | DropTable
    | RenameTable
    | SetTableComment
    | AddColumn
    | DropColumn
    | RenameColumn
    | ChangeType
    | SplitColumn
    | MergeColumns
    | StringToArray
    | SetNotNull
    | DropNotNull
    | SetDefault
    | DropDefault
    | SetComment
    | AddCheck
    | AddForeignKey
    | AddUnique
    | ChangePrimaryKey
    | DropConstraint
    | RenameConstraint
    | AddIndex
    | DropIndex
    | CreateEnum
    | AddEnumValue
    | RawSql,
    Field(discriminator="operation"),
]
"""One entry of `operations:`, told by its key `operation`. A new one is a class, and an entry here."""

__all__ = ["AnyOperation", "Expansion", "Operation", "compile_operations"]

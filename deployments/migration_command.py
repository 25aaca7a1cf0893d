"""The commands `slipway migration ...`: a database's shape is changed in phases, looked at, and taken back."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from deployments.following import Wait, run_to_end
from deployments.shown import print_json
from deployments.terminal import Estate, Exit, Json, connected, estate_path, out, who
from tasks.common.errors import Refused
from tasks.common.migrations import Phase
from tasks.common.redaction import Redactor

if TYPE_CHECKING:
    from blocks.estate import OpenEstate
    from tasks.migration.files import Written
    from tasks.migration.lint import Finding

app = typer.Typer(no_args_is_help=True, help="Change a database's shape in phases, and without downtime.")
Service = Annotated[str, typer.Argument(help="name of the service")]
Environment = Annotated[str, typer.Option("--in", help="environment whose database is meant")]
Folder = Annotated[str, typer.Option(help="a folder of migrations on this machine, in place of the repository's")]
Commit = Annotated[str, typer.Option(help="commit, branch or tag that has the migrations; empty: the newest")]
Through = Annotated[Phase, typer.Option(help="the last phase; cleanup removes the old shape for good")]
Name = Annotated[str, typer.Argument(help="name of the migration: 0003_merge_names")]

_NEW = {
    "migration.yaml": """\
description: {words}
# Rows that are changed in batches, in the phase execute:
# backfill:
#   - table: customer
#     set:
#       full_name: first || ' ' || last
#     where: full_name is null
""",
    "prepare.sql": "-- only what adds: the code that runs must not notice\n",
    "prepare.undo.sql": "-- what takes prepare back, with IF EXISTS\n",
    "validate.sql": "-- each SELECT returns what is wrong; the comment before it says what that is\n",
    "cleanup.sql": "-- what is left of the old shape goes\n",
}


@app.command()
def new(
    words: Annotated[str, typer.Argument(help="what it does, in a few words: 'merge names'")],
    folder: Annotated[Path, typer.Option(help="folder of migrations")] = Path("migrations"),
) -> None:
    """Make the folder of a new migration, with the next number."""
    import re

    from tasks.migration.files import NAME, NAME_WORDS

    numbers = [int(each.name.partition("_")[0]) for each in folder.glob("*") if NAME.fullmatch(each.name)]
    name = f"{max(numbers, default=0) + 1:04}_" + re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    if not NAME.fullmatch(name):
        raise Refused("this makes no name", on=repr(words), next_action=f"use {NAME_WORDS}")
    (folder / name).mkdir(parents=True)
    for file, text in _NEW.items():
        (folder / name / file).write_text(text.replace("{words}", words), encoding="utf-8")
    out.print(f"made {folder / name}: write its phases, and remove what it does not need", markup=False, soft_wrap=True)


@app.command()
def lint(
    folder: Annotated[Path, typer.Argument(help="folder of migrations")] = Path("migrations"),
    sarif: Annotated[str, typer.Option(help="write SARIF into this file, for the scans of a release")] = "",
    service: Annotated[str, typer.Option(help="tell how large the tables of this service's database are")] = "",
    environment: Environment = "production",
    estate: Estate = "",
    as_json: Json = False,
) -> None:
    """Say what does not belong into its phase, by rules of our own and by squawk's. Opinions end it with 0."""
    count, found = _linted(folder)
    if service:
        from tasks.migration.lint import sized

        found = sized(found, connected(estate).migrations(service, environment).observe().catalogue)
    if sarif:
        import json

        from tasks.migration.sarif import sarif as report_of

        Path(sarif).write_text(json.dumps(report_of(found, PurePosixPath(folder.as_posix())), indent=1))
    if as_json:
        print_json([asdict(each) for each in found])
    for each in found if not as_json else ():
        out.print(f"{each.path}:{each.line}: {each.level}: {each.rule}: {each.message}", markup=False, soft_wrap=True)
    if any(each.level != "note" for each in found):
        raise typer.Exit(Exit.FAILED)
    if not as_json:
        out.print(f"{count} migrations: nothing to say" if not found else f"{count} migrations: opinions only")


def _linted(folder: Path) -> "tuple[int, tuple[Finding, ...]]":
    """Return how many migrations there are that can be read, and what is found in all."""
    from blocks.migrations.folder import read_folder
    from blocks.migrations.squawk import squawk
    from tasks.migration.files import read_migrations
    from tasks.migration.lint import lint as findings_of
    from tasks.migration.lint import of_mistakes, parts

    files = read_folder(folder)
    if not files:
        raise Refused("there are no migrations in the folder", on=str(folder), next_action="check the path")
    written, mistakes = read_migrations(files)
    found = [*of_mistakes(mistakes, files), *(each for one in written for each in findings_of(one))]
    found += squawk([part for one in written for part in parts(one)], Redactor().redact)
    return len(written), tuple(sorted(found, key=lambda each: (each.path, each.line)))


@app.command()
def explain(
    name: Name, folder: Annotated[Path, typer.Option(help="folder of migrations")] = Path("migrations")
) -> None:
    """Show what a migration does in each phase, and how each is taken back. No database is asked."""
    from blocks.migrations.folder import read_folder
    from tasks.migration.files import load_migrations
    from tasks.migration.report import declared, explained

    written = load_migrations(read_folder(folder), str(folder))
    found = next((each for each in written if each.name == name), None)
    if found is None:
        known = ", ".join(each.name for each in written)
        raise Refused(f"there is no migration {name!r}", on=str(folder), next_action=f"use one of: {known or 'none'}")
    text = declared(found) if found.operations else explained(found.compiled(), found.file.description)
    out.print(text, markup=False, soft_wrap=True)


@app.command()
def status(
    service: Service,
    environment: Environment = "production",
    folder: Folder = "",
    commit: Commit = "",
    estate: Estate = "",
    as_json: Json = False,
) -> None:
    """Show where each migration stands in a database. Nothing is changed."""
    opened, written = _opened(service, environment, folder, commit, estate)
    from tasks.migration.report import status as lines_of

    lines = lines_of(opened.migrations(service, environment).observe(), written)
    if as_json:
        print_json([asdict(each) for each in lines])
        return
    table = Table("migration", "state", "done", "description", box=SIMPLE_HEAD)
    for each in lines:
        table.add_row(each.name, each.state, each.done or "-", escape(each.problem or each.description))
    out.print(table if lines else "there are no migrations")


@app.command()
def plan(
    service: Service,
    environment: Environment = "production",
    through: Through = Phase.VALIDATE,
    folder: Folder = "",
    commit: Commit = "",
    estate: Estate = "",
) -> None:
    """Print the exact steps that would be done now, then what keeps them from being done. Nothing is changed."""
    opened, written = _opened(service, environment, folder, commit, estate)
    from tasks.migration import contract, report, require
    from tasks.migration.contract_steps import conditions
    from tasks.migration.declared import for_database
    from tasks.migration.plan import Action, plan_apply
    from tasks.migration.request import MigrateRequest

    observed = opened.migrations(service, environment).observe()
    spec, on = opened.migrated(service, environment), f"{service} in {environment}"
    require.require_right(observed, require.Wanted.of(spec, room=True), on)
    require.require_in_line(observed, written, on)
    actions: list[Action] = []
    waits_for: list[str] = []
    for each in written:
        require.require_not_undoing(observed.attempt(each.name), on)
        todo = plan_apply(observed.attempt(each.name), for_database(each, observed, waits_for).compiled, through)
        waits_for += [each.name] if todo else []
        actions += todo
    for line in report.warnings(observed, written, through):
        out.print(f"note: {line}", markup=False, soft_wrap=True)
    out.print(report.plan_report(actions), markup=False, soft_wrap=True)
    asked = MigrateRequest(service=service, environment=environment, through=through, **_where(folder, commit))
    contract.require_met(conditions(opened, asked, observed, actions, datetime.now(UTC))[0], on, "")


@app.command()
def apply(
    service: Service,
    environment: Environment = "production",
    through: Through = Phase.VALIDATE,
    upto: Annotated[str, typer.Option(help="name of the last migration; all if left out")] = "",
    folder: Folder = "",
    commit: Commit = "",
    accept_contract: Annotated[
        str, typer.Option(help="why the old shape goes although conditions of that are not met, for the record")
    ] = "",
    estate: Estate = "",
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Bring a database's migrations through a phase, the oldest first."""
    connected(estate).migrated(service, environment)
    from tasks.migration.request import MigrateRequest

    where = {"service": service, "environment": environment, **_where(folder, commit)}
    request = MigrateRequest(through=through, upto=upto, accept_contract=accept_contract, **where)
    run_to_end("migrate", request, f"{service} in {environment} through {through}", wait, as_json)


@app.command()
def undo(
    service: Service,
    name: Name,
    environment: Environment = "production",
    accept_contract: Annotated[
        str, typer.Option(help="why it is undone although code that serves has it, for the record")
    ] = "",
    estate: Estate = "",
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Take the newest migration back, which is possible until its point of no return."""
    connected(estate).migrated(service, environment)
    from tasks.migration.request import UndoRequest

    where = {"service": service, "environment": environment, **_where("", "")}
    request = UndoRequest(name=name, accept_contract=accept_contract, **where)
    run_to_end("undo-migration", request, f"undo of {name}", wait, as_json)


def _opened(
    service: str, environment: str, folder: str, commit: str, estate: str
) -> "tuple[OpenEstate, tuple[Written, ...]]":
    opened = connected(estate)
    opened.migrated(service, environment)
    from tasks.migration.request import MigrateRequest
    from tasks.migration.steps import written_of

    asked: MigrateRequest = MigrateRequest(service=service, environment=environment, **_where(folder, commit))
    return opened, written_of(opened, asked)


def _where(folder: str, commit: str) -> dict[str, Any]:
    absolute = str(Path(folder).absolute()) if folder else ""
    return {"folder": absolute, "commit": commit, "estate": estate_path(), "requested_by": who()}

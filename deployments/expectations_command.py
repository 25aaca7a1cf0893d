"""The commands `slipway expectations`: derive a first suite, and try suites on a database."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deployments.shown import print_json
from deployments.terminal import Exit, Json, out
from tasks.common.errors import Refused
from tasks.common.units import Expected, parse_positive_duration

app = typer.Typer(no_args_is_help=True, help="What a service's data must look like: suggest, try.")
Dsn = Annotated[str, typer.Option("--dsn-ref", help="reference to the database's address: env:NAME, file:PATH ...")]
Within = Annotated[str, typer.Option("--within", help="longest time for all of it, such as 10m")]


@app.command()
def suggest(
    dsn: Dsn,
    tables: Annotated[list[str] | None, typer.Option("--table", help="only this table; may be repeated")] = None,
    folder: Annotated[Path, typer.Option("--into", help="folder of the suites, one file a table")] = Path(
        "expectations"
    ),
    within: Within = "10m",
) -> None:
    """Derive a first suite from a healthy database, which is only read. Files that are there stay as they are."""
    from blocks.expectations.profiling import profile_tables
    from blocks.secrets import Secrets
    from tasks.expectations.suggest import suggest as suggested

    found, left_out = profile_tables(Secrets().resolve(dsn), tables or [], _seconds(within))
    files = {folder / f"{profile.table}.yaml": suggested(profile) for profile in found}
    there = [str(path) for path in files if path.exists()]
    if there:
        raise Refused(
            "there are suites already",
            on=", ".join(there),
            next_action="move them away, or write to another folder: --into FOLDER",
        )
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
        out.print(str(path), markup=False, soft_wrap=True)
    for table in left_out:
        out.print(f"left out, as the time was over: {table}", style="red", markup=False)
    if left_out:
        raise typer.Exit(Exit.FAILED)


@app.command("try")
def try_suites(
    dsn: Dsn,
    folder: Annotated[Path, typer.Argument(help="folder of the suites")] = Path("expectations"),
    within: Within = "1h",
    as_json: Json = False,
) -> None:
    """Evaluate suites on a database, which is only read."""
    from blocks.expectations.running import run_suites
    from blocks.secrets import Secrets
    from tasks.common.backups import RungOutcome
    from tasks.common.load import load_suites
    from tasks.expectations.judge import artifact, judge

    suites = load_suites({str(path): path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml"))})
    secrets = Secrets()
    folder, address = Path(tempfile.gettempdir()), secrets.resolve(dsn)
    report = run_suites(suites, address, folder, secrets.redact, timeout_s=_seconds(within))
    rung = judge(report)
    if as_json:
        print_json({"outcome": rung.outcome, "said": rung.said, "checked": [asdict(each) for each in report.checked]})
    else:
        from rich.markdown import Markdown

        out.print(Markdown(secrets.redact(artifact(report, rung))))
    if rung.outcome is not RungOutcome.HELD:
        raise typer.Exit(Exit.FAILED)


def _seconds(text: str) -> float:
    try:
        return parse_positive_duration(text)
    except Expected as error:
        raise Refused(str(error), on="--within", next_action="write a duration with its unit") from None

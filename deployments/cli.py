"""The command line. Exit codes: see `Exit`; docs/reference/command-line.md documents them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from deployments import (
    apply_command,
    backup_command,
    backups_command,
    drill_command,
    expectations_command,
    heartbeat_command,
    masking_command,
    migration_command,
    move_command,
    partition_command,
    recover_command,
    restore_command,
    sites_command,
)
from deployments.following import Wait, follow, start, why_of
from deployments.lab.lab import Lab
from deployments.receiver import commands as webhook_commands
from deployments.shown import cells, print_json
from deployments.terminal import As, Estate, Exit, Json, connect, err, estate_path, out, var_folder, who
from deployments.watching import commands as watching_commands
from deployments.worker import commands as worker_commands
from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe
from tasks.common.units import show_percent
from tasks.release.model import Outcome

_OUTCOMES = {
    Outcome.SUCCEEDED: Exit.DONE,
    Outcome.FAILED: Exit.FAILED,
    Outcome.ROLLED_BACK: Exit.ROLLED_BACK,
    Outcome.UNSAFE: Exit.UNSAFE,
    Outcome.INTERRUPTED: Exit.UNSAFE,
    Outcome.RUNNING: Exit.UNSAFE,
}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Take a commit to production, watch it there, and take it back when it is bad. Start with: slipway doctor",
)
releases = typer.Typer(no_args_is_help=True, help="What was released, and how it went: list, show.")
app.add_typer(releases, name="releases")
app.add_typer(backup_command.app, name="backup")
app.add_typer(backups_command.app, name="backups")
app.add_typer(expectations_command.app, name="expectations")
app.add_typer(masking_command.app, name="masking")
app.add_typer(sites_command.app, name="sites")
app.add_typer(drill_command.app, name="drill")
app.add_typer(migration_command.app, name="migration")
migration_command.app.command()(partition_command.partitions)
app.command()(drill_command.reap)
app.command()(apply_command.apply)
app.command()(backup_command.verify_backup)
app.command()(restore_command.restore)
app.command()(recover_command.recover)
app.command()(move_command.failover)
app.command()(move_command.switchover)
app.command()(move_command.failback)
app.command()(watching_commands.watch)
app.command()(watching_commands.vantage)
app.command()(webhook_commands.receive)
app.command()(webhook_commands.deliveries)
app.command()(worker_commands.worker)
app.command()(heartbeat_command.heartbeat)
Service = Annotated[str, typer.Argument(help="name of the service")]
Environment = Annotated[str, typer.Option("--to", help="environment where it must serve in the end")]


@app.command()
def up() -> None:
    """Start the lab, on 127.0.0.1 only: PostgreSQL, HAProxy, Prometheus, a Prefect server, a worker, a receiver."""
    lab = Lab(var_folder())
    lab.up(lambda text: err.print(text, style="dim"))
    out.print(f"the lab is up\n  Prefect UI   {lab.ui_url}\n  auth string  in {lab.auth_file}")
    out.print(f"  webhooks     {lab.receiver_url}/webhooks/github\n  deliveries   {lab.deliveries_url}")
    for name in ("staging", "production"):
        out.print(f"  {name:<12} http://127.0.0.1:{lab.ports[name]}")
    out.print(f"  estate file  {lab.estate_file}\n  end it with  slipway down")


@app.command()
def down() -> None:
    """End the lab and the instances that run in it. What it has kept stays under var/."""
    ended = Lab(var_folder()).down()
    out.print("the lab is down" if ended else "nothing was running")


@app.command()
def status(estate: Estate = "", as_json: Json = False) -> None:
    """Show what serves where, and with which share: asked now, nothing is changed."""
    connect(estate)
    from blocks.estate import open_estate
    from deployments.status import observe_sites

    sites = observe_sites(open_estate())
    if as_json:
        print_json([asdict(site) for site in sites])
        return
    for site in sites:
        out.print(f"[bold]{site.service} in {site.environment}[/bold]  {site.url}")
        if site.problem:
            out.print(site.problem, style="red", markup=False)
            continue
        table = Table("slot", "weight", "instance", "release", "health", "routed", "open", box=SIMPLE_HEAD)
        for one in site.instances:
            weight = show_percent(site.weights.get(str(one["slot"]), 0.0))
            cells = (
                one["slot"],
                weight,
                one["address"],
                str(one["release"])[:7],
                one["health"],
                one["routed"],
                one["open"],
            )
            table.add_row(*map(str, cells))
        out.print(table if site.instances else "  nothing runs here yet")


@app.command()
def doctor(estate: Estate = "", as_json: Json = False) -> None:
    """Look at everything that a release or a backup needs, and say how to mend what is not well."""
    connect(estate)
    from deployments.doctor import examine

    findings = examine()
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            mark, style = ("ok  ", "green") if finding.well else ("MEND", "red")
            out.print(f"[{style}]{mark}[/{style}]", end=" ")
            out.print(f"{finding.name}: {finding.found}", markup=False)
            if not finding.well:
                out.print(f"       {finding.mend}", markup=False)
    if not all(finding.well for finding in findings):
        raise typer.Exit(Exit.FAILED)


@app.command()
def release(
    service: Service,
    commit: Annotated[str, typer.Argument(help="commit hash, branch or tag")],
    environment: Environment = "production",
    estate: Estate = "",
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Take a commit to production, by way of the environments before it; a bad one is turned back."""
    connect(estate)
    from tasks.release.request import ReleaseRequest

    request = ReleaseRequest(
        service=service, commit=commit, environment=environment, estate=estate_path(), requested_by=who()
    )
    _run("release", request, wait, as_json)


@app.command()
def rollback(
    service: Service,
    to: Annotated[str, typer.Argument(help="release, as in 'releases list'; default: the one before the present")] = "",
    environment: Annotated[str, typer.Option("--in", help="environment to turn back")] = "production",
    reason: Annotated[str, typer.Option(help="why, for the record")] = "",
    accept_contract: Annotated[
        str, typer.Option(help="why to a release whose old shape of the database is gone, for the record")
    ] = "",
    estate: Estate = "",
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Return to a kept release at once, without a rebuild. A release that still runs there is cancelled first."""
    connect(estate)
    from tasks.release.request import RollbackRequest

    about = {"service": service, "environment": environment, "estate": estate_path(), "requested_by": who()}
    request = RollbackRequest(to=to, reason=reason, accept_contract=accept_contract, **about)
    _run("rollback", request, wait, as_json)


Run = Annotated[str, typer.Argument(help="run id, or the beginning of one, as 'releases list' shows it")]
Reason = Annotated[str, typer.Option(help="why, for the record")]


@app.command()
def approve(run: Run, reason: Reason, name: As = "", estate: Estate = "") -> None:
    """Say yes to a release, restore, failover or drill that waits for an answer; it goes on where it was."""
    _answer(run, "approve", reason, name, estate)


@app.command()
def reject(run: Run, reason: Reason, name: As = "", estate: Estate = "") -> None:
    """Say no to a release, restore, failover or drill that waits for an answer; what is out is rolled back."""
    _answer(run, "reject", reason, name, estate)


def _answer(run: str, decision: str, reason: str, name: str, estate: str) -> None:
    connect(estate)
    from blocks.estate import open_estate
    from tasks.common.run_steps import answer_run
    from tasks.release.approval import unanswered

    ledger, answer = open_estate().ledger, {"decision": decision, "reason": reason, "name": name or who()}
    ledger.prepare()
    if restore_command.answer_restore(ledger.restores, run, answer):
        return
    if move_command.answer_move(ledger.moves, run, answer):
        return
    if drill_command.answer_drill(ledger.drills, run, answer):
        return
    record = ledger.record(run)
    on = f"{record.kind} of {record.service} {record.release[:7]} to {record.environment}: {record.outcome}"
    question = unanswered(ledger.evidence(record.id))
    if record.outcome is not Outcome.RUNNING or question is None:
        raise Refused(
            "this run does not wait for an answer",
            on=on,
            next_action=f"'slipway releases show {record.id[:8]}' shows where it is",
        )
    if datetime.now(UTC) > question.expires_at:
        raise Refused(
            f"the time for an answer was over at {question.expires_at:%Y-%m-%d %H:%M:%S} UTC",
            on=on,
            next_action="'slipway reconcile' brings it to its end; then release again if it is still wanted",
        )
    answer_run(record.id, answer)
    out.print(f"{record.service} {record.release[:7]}: {decision}; run {record.id[:8]} goes on", markup=False)


@app.command()
def reconcile(
    estate: Estate = "",
    wait: Wait = True,
) -> None:
    """Bring releases whose runs have died to an end now, and report what is not as it was left."""
    connect(estate)
    from tasks.release.request import ReconcileRequest

    run_id = start("reconcile", ReconcileRequest(estate=estate_path()), wait, as_json=False)
    if not run_id:
        return
    ended = follow(run_id, as_json=False)
    out.print(f"reconcile: {ended.state}")
    if ended.state == "Cancelled":
        out.print("another reconciliation was at work; what it found stands in its own run")
        raise typer.Exit(Exit.NOT_REACHABLE)
    if not ended.completed:
        raise typer.Exit(Exit.UNSAFE)


@app.command()
def plan(
    service: Service,
    commit: Annotated[str, typer.Argument(help="commit hash, branch or tag")],
    environment: Environment = "production",
    estate: Estate = "",
    as_json: Json = False,
) -> None:
    """Print the exact steps that a release would take now. Nothing is changed."""
    connect(estate)
    from deployments.planning import plan_release
    from tasks.release.request import ReleaseRequest

    planned = plan_release(ReleaseRequest(service=service, commit=commit, environment=environment))
    if as_json:
        print_json([asdict(part) for part in planned])
        return
    for part in planned:
        out.print(f"[bold]{part.title}[/bold]")
        for number, step in enumerate(part.steps, start=1):
            out.print(f"  {number:>2}. {step}", markup=False)


@releases.command("list")
def list_releases(
    service: Annotated[str, typer.Argument(help="only this service")] = "",
    environment: Annotated[str, typer.Option("--in", help="only this environment")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="how many")] = 20,
    estate: Estate = "",
    as_json: Json = False,
) -> None:
    """List the latest releases and rollbacks, newest first."""
    connect(estate)
    from blocks.estate import open_estate

    ledger = open_estate().ledger
    ledger.prepare()
    records = ledger.records(service or None, environment or None, limit)
    if as_json:
        print_json([asdict(record) for record in records])
        return
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, width in (("run", 8), ("started", 11), ("release", 14), ("in", 10), ("outcome", 11), ("took", 8)):
        table.add_column(name, no_wrap=True, min_width=width)
    table.add_column("subject", no_wrap=True, overflow="ellipsis", min_width=8)
    for record in records:
        table.add_row(*cells(record))
    out.print(table if records else "nothing was released yet")


@releases.command("show")
def show_release(
    run: Annotated[str, typer.Argument(help="run id, or the beginning of one")],
    estate: Estate = "",
    as_json: Json = False,
) -> None:
    """Show one release or rollback: what was done, measured and decided."""
    connect(estate)
    from blocks.estate import open_estate
    from tasks.release.report import summary

    ledger = open_estate().ledger
    record = ledger.record(run)
    evidence = ledger.evidence(record.id)
    if as_json:
        print_json({"record": asdict(record), "evidence": [asdict(item) for item in evidence]})
        return
    from rich.markdown import Markdown

    out.print(Markdown(summary(record, evidence)))


@app.command()
def schema(
    folder: Annotated[Path, typer.Argument(help="folder to write to")],
) -> None:
    """Write the JSON Schemas of all files that people write, for editors, and their reference pages."""
    from tasks.common.documentation import write

    for path in write(folder):
        out.print(str(path), markup=False)


def _run(flow: str, request: Any, wait: bool, as_json: bool) -> None:
    from blocks.estate import open_estate

    estate = open_estate(request.estate)
    estate.site(request.service, request.environment)
    run_id = start(flow, request, wait, as_json)
    if not run_id:
        return
    ended = follow(run_id, as_json)
    try:
        record = estate.ledger.record(run_id)
    except Refused:
        # Refused before there was a record, such as an unknown commit: Prefect's message says why.
        print_json(asdict(ended)) if as_json else out.print(why_of(ended), markup=False)
        raise typer.Exit(Exit.REFUSED) from None
    if as_json:
        print_json(asdict(record))
    else:
        out.print(f"\n{record.kind} of {record.release[:7]} to {record.environment}: {record.outcome}", markup=False)
        if record.error:
            out.print(record.error, markup=False)
    if record.outcome is not Outcome.SUCCEEDED:
        raise typer.Exit(_OUTCOMES[record.outcome])


@contextmanager
def _readable_errors() -> Iterator[None]:
    """One readable block and an exit code, instead of a traceback, for every error that is ours."""
    try:
        yield
    except SlipwayError as error:
        # Broken by the terminal alone: a line of the block stays one line for whoever copies it or searches in it.
        err.print(error.block(), markup=False, soft_wrap=True)
        codes = {Unsafe: Exit.UNSAFE, Retryable: Exit.NOT_REACHABLE}
        sys.exit(next((code for kind, code in codes.items() if isinstance(error, kind)), Exit.REFUSED))


def main() -> None:
    """Run the command line."""
    with _readable_errors():
        app()


if __name__ == "__main__":
    main()

"""The commands `slipway masking`: try the rules of an anonymised copy on a database, which is not changed."""

from pathlib import Path
from typing import Annotated

import typer

from deployments.terminal import Exit, out
from tasks.common.errors import Refused

app = typer.Typer(no_args_is_help=True)


@app.callback()
def masking() -> None:
    """Try the rules of an anonymised copy: check."""
    # With it 'check' stays a command of its own, though it is the only one.


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="the masking file")],
    dsn: Annotated[str, typer.Option("--dsn-ref", help="reference to the address: env:NAME, file:PATH ...")],
) -> None:
    """Say everything that stands against masking a copy of a database by these rules; the database is only read."""
    from blocks.masking.masking import check_masking
    from blocks.secrets import Secrets
    from tasks.common.load import load_masking

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(
            f"the masking file cannot be read: {type(error).__name__}", on=str(file), next_action="name another file"
        ) from None
    found = check_masking(Secrets().resolve(dsn), load_masking(text, str(file)))
    for each in found:
        out.print(each, markup=False, soft_wrap=True)
    if found:
        raise typer.Exit(Exit.FAILED)
    out.print("nothing stands against it")

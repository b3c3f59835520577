"""The guerdon command: its composition root."""

from importlib.metadata import version as version_of
from typing import Annotated

import typer

from backend.audit.cli import audit
from backend.cli import batch, database, imports, keys, keystore, partner, programs, settle
from backend.cli.app import Commands, Root
from backend.devstack import run
from backend.kit.terminal import output


def _version(wanted: bool) -> None:
    if wanted:
        output.print(f"guerdon {version_of('guerdon')}")
        raise typer.Exit


app = Commands(
    cls=Root,
    help="A validity rollup for rewards: proven, attested and paid without trusting the operator.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,  # boxes cut the names of long options
)


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Options of `guerdon` itself."""


# Without a name, a group's commands are commands of `guerdon` itself.
app.add_typer(run.app)
app.add_typer(database.app)
app.add_typer(programs.app, name="program")
app.add_typer(partner.app, name="partner")
app.add_typer(keys.app, name="keys")
app.add_typer(keystore.app, name="keystore")
app.add_typer(imports.app)
app.add_typer(batch.app, name="batch")
app.add_typer(settle.app)
app.command()(audit)

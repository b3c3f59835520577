"""The guerdon command: its composition root."""

import typer

from backend.audit.cli import audit
from backend.cli import batch, database, imports, keys, keystore, partner, programs, settle
from backend.devstack import run

app = typer.Typer(
    help="A validity rollup for rewards: proven, attested and paid without trusting the operator.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


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

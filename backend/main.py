"""The guerdon command: its composition root."""

import logging

import typer

from backend.audit.cli import audit
from backend.cli import keys, keystore, operate, programs
from backend.devstack import run
from backend.kit.log import configure

app = typer.Typer(
    help="A validity rollup for rewards: proven, attested and paid without trusting the operator.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
partner = typer.Typer(help="Partners who report interactions.", no_args_is_help=True)
batch = typer.Typer(help="Batches.", no_args_is_help=True)


@app.callback()
def _quiet() -> None:
    # A person reads this: progress and errors are shown as such, not as log lines.
    configure(logging.ERROR)


app.command()(run.demo)
app.command()(run.up)
app.command()(run.prepare_local)
app.command()(operate.migrate)
app.add_typer(programs.app, name="program")
app.add_typer(partner, name="partner")
partner.command("add")(operate.partner_add)
partner.command("rotate")(operate.partner_rotate)
partner.command("revoke")(operate.partner_revoke)
app.add_typer(keys.app, name="keys")
app.add_typer(keystore.app, name="keystore")
app.command("import")(operate.import_list)
app.add_typer(batch, name="batch")
batch.command("close")(operate.batch_close)
batch.command("list")(operate.batch_list)
batch.command("release")(operate.batch_release)
app.command()(operate.prove)
app.command()(operate.post)
app.command()(operate.watch)
app.command()(operate.claim)
app.command()(audit)

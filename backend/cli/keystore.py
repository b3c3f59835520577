"""`guerdon keystore`: files with the keys that sign."""

from pathlib import Path
from typing import Annotated

import typer

from backend.cli.app import Commands
from backend.cli.context import open_context, settings
from backend.cli.failures import failures
from backend.cli.output import output, show_list, wants_json

app = Commands(help="Keystores: the keys that sign.", no_args_is_help=True)


def _password(confirm: bool) -> str:
    """GUERDON_KEYSTORE_PASSWORD, or what the user types."""
    given = settings().keystore_password.get_secret_value()
    return given or typer.prompt("Password", hide_input=True, confirmation_prompt=confirm, err=True)


@app.command()
def new(file: Annotated[Path, typer.Argument(help="File to write; never overwritten.")]) -> None:
    """Make a key in an encrypted file, and print its address.

    The file is Web3 Secret Storage.
    The password is GUERDON_KEYSTORE_PASSWORD. Without it, the command asks.
    """
    from backend.signer import keystore

    with failures():
        _show(keystore.create(file, _password(confirm=True)).address)


@app.command()
def address(file: Annotated[Path, typer.Argument(help="A keystore file.")]) -> None:
    """Decrypt a keystore with the password and print its address."""
    from backend.signer.factory import open_signer

    with failures():
        _show(open_signer(file, _password(confirm=False)).address)


def _show(address: str) -> None:
    if wants_json():
        output.document({"address": address})
    else:
        output.print(address)


@app.command()
def balances() -> None:
    """Show what each key has for gas, and how long that lasts.

    Fails if a key cannot be opened, or cannot pay for its next transaction.
    """
    from backend.cli.gas_money import gas_money

    with open_context() as context:
        found = gas_money(context)
    rows = [one.to_json() if wants_json() else one.shown() for one in found]
    show_list("Keys that pay for gas, in the chain's coin", rows)
    if any(one.problem for one in found):
        raise typer.Exit(1)

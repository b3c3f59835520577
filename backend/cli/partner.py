"""`guerdon partner`: partners who report interactions, and their secrets."""

import os
from pathlib import Path
from typing import Annotated

import typer

from backend.cli.app import Commands
from backend.cli.context import ProgramName, open_context
from backend.cli.output import output

app = Commands(help="Partners who report interactions.", no_args_is_help=True)

PartnerName = Annotated[str, typer.Argument(help="The partner.")]
SecretEnv = Annotated[
    str | None,
    typer.Option(help="Variable that holds the secret (whsec_...); a new one if not given."),
]
Pins = Annotated[
    list[Path] | None,
    typer.Option(help="An attestor's partners.json to write the secret to; several times."),
]


@app.command()
def add(
    program: ProgramName,
    name: Annotated[
        str,
        typer.Argument(help="The partner's id in the protocol: a-z, 0-9, dot, dash, underscore."),
    ],
    secret_env: SecretEnv = None,
    pins: Pins = None,
) -> None:
    """Add a partner and print its secret, this once. Each attestor must have the secret too."""
    from backend.cli.pins import open_pins
    from backend.partner import repository as partners
    from backend.program import repository as programs

    with open_context() as context, open_pins(pins) as pin:
        secret = _secret(secret_env)
        with context.database.transaction() as session:
            row = programs.get(session, program)
            partners.add(session, row.id, name, secret)
            pin(row.distributor, name, secret)
    output.document({"program": program, "partner": name, "secret": secret})


@app.command()
def rotate(
    program: ProgramName,
    name: PartnerName,
    overlap: Annotated[
        int, typer.Option(min=0, help="Seconds for which the present secret stays valid.")
    ] = 86_400,
    secret_env: SecretEnv = None,
    pins: Pins = None,
) -> None:
    """Give a partner a new secret and print it, this once.

    Each attestor must have the secret before the partner signs with it.
    """
    from backend.cli.pins import open_pins
    from backend.partner import repository as partners
    from backend.program import repository as programs

    with open_context() as context, open_pins(pins) as pin:
        secret = _secret(secret_env)
        with context.database.transaction() as session:
            row = programs.get(session, program)
            partners.rotate(session, partners.get(session, row.id, name), secret, overlap)
            pin(row.distributor, name, secret)
    facts = {"program": program, "partner": name, "secret": secret, "overlap_seconds": overlap}
    output.document(facts)


@app.command()
def revoke(program: ProgramName, name: PartnerName) -> None:
    """End all of a partner's secrets now.

    The partner can report nothing until `guerdon partner rotate` gives it a new secret.
    """
    from backend.partner import repository as partners
    from backend.program import repository as programs

    with open_context() as context, context.database.transaction() as session:
        row = programs.get(session, program)
        revoked = partners.revoke(session, partners.get(session, row.id, name))
    output.document({"program": program, "partner": name, "revoked": revoked})


def _secret(variable: str | None) -> str:
    """The secret in the environment's `variable`, or a new one."""
    from backend.partner.schemes.standard_webhooks import generate_secret

    return os.environ.get(variable, "") if variable else generate_secret()

"""`guerdon partner`: partners who report interactions, and their secrets."""

import os
from pathlib import Path
from typing import Annotated

import typer

from backend.cli.app import Commands
from backend.cli.context import ProgramName, open_context
from backend.cli.output import output, show_list

app = Commands(help="Partners who report interactions.", no_args_is_help=True)

OVERLAP_MAX = 366 * 86_400
"""A year: a secret that is valid for longer was not rotated."""
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
    """Add a partner and print its secret, this once.

    Each attestor must have the secret too.
    """
    from backend.cli.names import find_program
    from backend.cli.pins import open_pins
    from backend.partner import repository as partners

    with open_context() as context, open_pins(pins) as pin:
        secret = _secret(secret_env)
        with context.database.transaction() as session:
            row = find_program(session, program)
            partners.add(session, row.id, name, secret)
            pin(row.distributor, name, secret)
            # Before the commit: a secret that could not be shown was never added.
            output.document({"program": program, "partner": name, "secret": secret})


@app.command()
def rotate(
    program: ProgramName,
    name: PartnerName,
    overlap: Annotated[
        int,
        typer.Option(
            min=0, max=OVERLAP_MAX, help="Seconds for which the present secret stays valid."
        ),
    ] = 86_400,
    secret_env: SecretEnv = None,
    pins: Pins = None,
) -> None:
    """Give a partner a new secret and print it, this once.

    Each attestor must have the secret before the partner signs with it.
    """
    from backend.cli.names import find_partner, find_program
    from backend.cli.pins import open_pins
    from backend.partner import repository as partners

    with open_context() as context, open_pins(pins) as pin:
        secret = _secret(secret_env)
        with context.database.transaction() as session:
            row = find_program(session, program)
            partners.rotate(session, find_partner(session, row, name), secret, overlap)
            pin(row.distributor, name, secret)
            facts = {"program": program, "partner": name, "secret": secret}
            # Before the commit, as above.
            output.document(facts | {"overlap_seconds": overlap})


@app.command()
def revoke(program: ProgramName, name: PartnerName) -> None:
    """End all of a partner's secrets now.

    The partner can report nothing until `guerdon partner rotate` gives it a new secret.
    """
    from backend.cli.names import find_partner, find_program
    from backend.partner import repository as partners

    with open_context() as context, context.database.transaction() as session:
        row = find_program(session, program)
        revoked = partners.revoke(session, find_partner(session, row, name))
    output.document({"program": program, "partner": name, "revoked": revoked})


@app.command("list")
def list_partners(program: ProgramName) -> None:
    """List a program's partners, and the secrets in force."""
    from backend.cli.names import find_program
    from backend.partner import repository as partners

    with open_context() as context, context.database.transaction() as session:
        rows = partners.listed(session, find_program(session, program).id)
    listed = [
        {
            "partner": row.name,
            "scheme": row.scheme,
            "secrets_in_force": row.secrets,
            "first_ends_at": None if row.ends_at is None else row.ends_at.isoformat(),
            "created_at": row.created_at.isoformat(),
        }
        for row in rows
    ]
    show_list(f"Partners of {program}", listed)


def _secret(variable: str | None) -> str:
    """The secret in the environment's `variable`, or a new one."""
    from backend.partner.schemes.standard_webhooks import generate_secret

    return os.environ.get(variable, "") if variable else generate_secret()

"""`guerdon import`: a reward list, reported as a partner does."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from backend.cli.app import Commands
from backend.cli.context import ProgramName, open_context
from backend.cli.output import output, steps
from backend.errors import Invalid

app = Commands()


@app.command("import")
def import_list(
    program: ProgramName,
    file: Annotated[Path, typer.Argument(help="CSV with an address column and an amount column.")],
    api_url: Annotated[str, typer.Option(help="Base URL of the API.")],
    partner: Annotated[str, typer.Option(help="The partner to report as.")],
    secret_env: Annotated[str, typer.Option(help="Variable that holds the partner's secret.")],
    label: Annotated[
        str, typer.Option(help="Name of this list; the same label, file and time change nothing.")
    ],
    occurred_at: Annotated[
        int | None,
        typer.Option(
            help="When the rewards were earned, Unix seconds; the file's time by default."
        ),
    ] = None,
    address_column: Annotated[str | None, typer.Option()] = None,
    amount_column: Annotated[str | None, typer.Option()] = None,
    decimals: Annotated[int | None, typer.Option(min=0, max=36)] = None,
) -> None:
    """Report a reward list over HTTP. Safe to repeat."""
    from backend.client.partner_client import PartnerClient, Reported
    from backend.client.reward_list import read_reward_list

    with open_context(), steps() as show:
        rewards = read_reward_list(file, address_column, amount_column, decimals)
        # The time is part of the report: a second run must report the same.
        when = int(file.stat().st_mtime) if occurred_at is None else occurred_at
        rows = [
            Reported(f"{label}-{address.lower()}", address, amount, when)
            for address, amount in rewards.amounts.items()
        ]
        secret = os.environ.get(secret_env)
        if not secret:
            raise Invalid(
                f"secret_env: the variable {secret_env} is not set or empty", "secret_env"
            )
        client = PartnerClient(api_url, program, partner, secret)
        outcomes: Counter[str] = Counter()
        for start in range(0, len(rows), 1000):
            outcomes.update(client.report(rows[start : start + 1000]))
            show("Reporting", min(start + 1000, len(rows)), len(rows))
    output.print_json(json.dumps(outcomes))
    if outcomes.get("rejected"):
        raise typer.Exit(1)

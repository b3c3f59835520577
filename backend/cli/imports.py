"""`guerdon import`: a reward list, reported as a partner does."""

import os
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.app import Commands
from backend.cli.context import ProgramName
from backend.cli.failures import failures
from backend.cli.output import Steps, errors, output, steps
from backend.cli.reward_plan import require_confirmed, require_sum_confirmed, show_plan
from backend.client.list_numbers import NumberForm, Unit
from backend.errors import CommandError, Invalid

if TYPE_CHECKING:
    from backend.client.partner_client import PartnerClient, ProgramFacts, Reported
    from backend.client.reward_list import RewardList

app = Commands()

REJECTED_SHOWN_MAX = 100
COLUMN_HELP = "Name of the {} column, or its position from 1."
AddressColumn = Annotated[str | None, typer.Option(help=COLUMN_HELP.format("address"))]
AmountColumn = Annotated[str | None, typer.Option(help=COLUMN_HELP.format("amount"))]
UnitOption = Annotated[
    Unit | None, typer.Option(help="Whether amounts are base units or whole tokens.")
]
NumberFormOption = Annotated[
    NumberForm | None, typer.Option(help="How the list writes numbers; 1234.5 if not given.")
]
SumRepeated = Annotated[
    bool, typer.Option("--sum-repeated", help="Pay the sum to an address on several lines.")
]


@app.command("import")
def import_list(
    program: ProgramName,
    file: Annotated[
        Path, typer.Argument(help="CSV with an address and an amount column, Safe's CSV or JSON.")
    ],
    api_url: Annotated[str, typer.Option(help="Base URL of the API.")],
    partner: Annotated[str, typer.Option(help="The partner to report as.")],
    secret_env: Annotated[str, typer.Option(help="Variable that holds the partner's secret.")],
    label: Annotated[
        str, typer.Option(help="Name of this list: under one label an address is paid once.")
    ],
    occurred_at: Annotated[
        int | None, typer.Option(min=1, help="When the rewards were earned, Unix seconds.")
    ] = None,
    address_column: AddressColumn = None,
    amount_column: AmountColumn = None,
    unit: UnitOption = None,
    decimals: Annotated[
        int | None, typer.Option(min=0, max=77, help="As --unit tokens, and the token must agree.")
    ] = None,
    number_form: NumberFormOption = None,
    sum_repeated: SumRepeated = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before sending.")] = False,
) -> None:
    """Show what a reward list pays, and report it over HTTP.

    Safe to repeat: under one label an account is paid once, and a changed amount is refused.
    """
    from backend.client.list_units import agreed_decimals, require_clear_unit, require_sane_total
    from backend.client.partner_client import PartnerClient
    from backend.client.reward_list import read_reward_list

    with failures():
        client = PartnerClient(api_url, program, partner, _checked(label, secret_env))
        facts = client.program()
        token = facts.token
        decimals = agreed_decimals(unit, decimals, token)
        rewards = read_reward_list(
            file, address_column, amount_column, decimals, unit=unit, form=number_form, token=token
        )
        if rewards.unit is None:
            largest = max(rewards.amounts.values())
            require_clear_unit(largest, rewards.total, token)
        require_sane_total(rewards.total, token, facts.reserve)
        _require_payable(file, rewards, facts)
        show_plan(file.name, rewards, token)
        if rewards.total > facts.available_budget:
            errors.print(
                f"The program has {token.text(facts.available_budget)} left: what is beyond is "
                "held until it is funded further."
            )
        require_sum_confirmed(rewards, sum_repeated)
        require_confirmed(yes)
        with steps() as show:
            answers = _report(client, rewards, label, occurred_at, show)
        client.close()
    _tell(rewards, facts, answers)


def _checked(label: str, secret_env: str) -> str:
    """The partner's secret. Raises Invalid for what can be known before anything is read."""
    from backend.partner.report import EVENT_ID

    if not label or not EVENT_ID.fullmatch(_event_id(label, "0x" + "0" * 40)):
        raise Invalid("label: expected 1 to 85 visible ASCII characters without spaces", "label")
    secret = os.environ.get(secret_env)
    if not secret:
        raise Invalid(f"secret_env: the variable {secret_env} is not set or empty", "secret_env")
    return secret


def _event_id(label: str, address: str) -> str:
    """The row's key: of label and account alone, so that no row is paid twice."""
    return f"{label}-{address.lower()}"


def _require_payable(path: Path, rewards: "RewardList", facts: "ProgramFacts") -> None:
    """Refuse what one interaction cannot pay, and contracts that could never claim. Raises
    ListError."""
    from backend.client.list_file import Fault, refuse
    from prover.wire import UINT96_MAX

    own = {facts.token.address.lower(): "token", facts.distributor.lower(): "Distributor"}
    faults = []
    for address, amount in rewards.amounts.items():
        place = rewards.places[address][0]
        if amount > UINT96_MAX:
            most = facts.token.text(UINT96_MAX)
            faults.append(Fault(place, f"{address}: {facts.token.text(amount)}: at most {most}"))
        if what := own.get(address.lower()):
            faults.append(Fault(place, f"{address} is the program's own {what}"))
    if faults:
        raise refuse(path, rewards.word, faults)


def _report(
    client: "PartnerClient", rewards: "RewardList", label: str, occurred_at: int | None, show: Steps
) -> "list[tuple[Reported, dict[str, Any]]]":
    """Each interaction with the API's answer."""
    from backend.client.partner_client import Reported, chunks
    from backend.partner.report import ITEMS_MAX

    when = int(time.time()) if occurred_at is None else occurred_at
    rows = [
        Reported(_event_id(label, address), address, amount, when)
        for address, amount in rewards.amounts.items()
    ]
    answers: list[tuple[Reported, dict[str, Any]]] = []
    for part in chunks(rows, ITEMS_MAX):
        try:
            results = client.answers(part)
        except CommandError as error:
            raise CommandError(
                f"{error}. {len(answers):,} of {len(rows):,} accounts were reported: run the same "
                "command again, nothing is paid twice"
            ) from error
        answers += [
            (row, _settled(row, result, occurred_at is not None))
            for row, result in zip(part, results, strict=True)
        ]
        show("Reporting", len(answers), len(rows))
    return answers


def _settled(row: "Reported", result: dict[str, Any], time_given: bool) -> dict[str, Any]:
    """The API's answer to a row. The first run's time stays: if the user gives no time, a row that
    differs in nothing else is a duplicate."""
    first = result.get("first") or {}
    same = (first.get("account"), first.get("amount")) == (row.account, str(row.amount))
    return {"status": "duplicate"} if same and not time_given else result


def _tell(
    rewards: "RewardList", facts: "ProgramFacts", answers: "list[tuple[Reported, dict[str, Any]]]"
) -> None:
    """Print the outcomes, and why each rejected row was. Exit code 1 if one was."""
    counts: dict[str, Any] = dict(Counter(answer["status"] for _, answer in answers))
    held = Counter(answer.get("reason") for _, answer in answers if answer["status"] == "held")
    for reason, count in held.items():
        errors.print(
            f"{count:,} held ({reason}): paid in order when the program is funded further."
        )
    rejected = [
        {
            rewards.word: rewards.places[row.account][0],
            "account": row.account,
            "amount": str(row.amount),
            "reason": answer.get("reason"),
            "message": _reason(row, answer, facts),
        }
        for row, answer in answers
        if answer["status"] == "rejected"
    ]
    for one in rejected[:REJECTED_SHOWN_MAX]:
        errors.print(f"{rewards.word} {one[rewards.word]}: {one['account']}: {one['message']}")
    if (more := len(rejected) - REJECTED_SHOWN_MAX) > 0:
        errors.print(f"… and {more:,} more.")
    output.document(counts | ({"rejected_rows": rejected} if rejected else {}))
    if rejected:
        raise typer.Exit(1)


def _reason(row: "Reported", answer: dict[str, Any], facts: "ProgramFacts") -> str:
    first = answer.get("first") or {}
    if first and first.get("amount") != str(row.amount):
        return (
            f"reported before under this label with {facts.token.text(int(first['amount']))}, now "
            f"{facts.token.text(row.amount)}: the first report is kept. To pay more, report the "
            "difference under another label"
        )
    return str(answer.get("message") or answer.get("reason") or "no reason given")

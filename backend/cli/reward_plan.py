"""What a reward list would pay, shown and confirmed before anything is sent."""

import sys
from typing import TYPE_CHECKING

import typer

from backend.cli.output import errors
from backend.errors import CommandError

if TYPE_CHECKING:
    from backend.client.reward_list import RewardList
    from backend.kit.token import Token

SHOWN_MAX = 100


def show_plan(name: str, rewards: "RewardList", token: "Token") -> None:
    """Tell what was read from where, and what it pays: accounts, total, largest, smallest."""
    notes = [
        f"accounts from {rewards.columns[0]}, amounts from {rewards.columns[1]}",
        "in whole tokens" if rewards.unit == "tokens" else "in base units",
        *filter(None, [rewards.note]),
    ]
    errors.print(f"{name}: {'; '.join(notes)}.")
    for address, places in list(rewards.repeated.items())[:SHOWN_MAX]:
        lines = ", ".join(map(str, places))
        errors.print(
            f"{address} is on {rewards.word}s {lines}: summed. "
            f"It would get {token.text(rewards.amounts[address])}."
        )
    _more(len(rewards.repeated), "repeated addresses")
    if rewards.zero:
        lines = ", ".join(map(str, rewards.zero[:SHOWN_MAX]))
        errors.print(f"The amount is 0 on {rewards.word} {lines}: nothing is paid for it.")
        _more(len(rewards.zero), "such lines")
    largest = max(rewards.amounts, key=lambda address: rewards.amounts[address])
    smallest = min(rewards.amounts, key=lambda address: rewards.amounts[address])
    errors.print(f"{len(rewards.amounts):,} accounts, {token.text(rewards.total)} in all.")
    for what, address in (("largest ", largest), ("smallest", smallest)):
        place = rewards.places[address][0]
        errors.print(
            f"{what}  {token.text(rewards.amounts[address])}  {address}  ({rewards.word} {place})"
        )


def _more(count: int, what: str) -> None:
    if count > SHOWN_MAX:
        errors.print(f"… of {count:,} {what} in all.")


def require_sum_confirmed(rewards: "RewardList", sum_repeated: bool) -> None:
    """An address on several lines may be a list pasted twice: somebody must say that the amounts
    are meant to add up. Raises CommandError."""
    if not rewards.repeated or sum_repeated:
        return
    count = len(rewards.repeated)
    what = "one address is" if count == 1 else f"{count:,} addresses are"
    _ask(
        f"Pay the sum to each of the repeated addresses ({count:,})?",
        f"{what} repeated (see above): nothing was sent. Take out the {rewards.word}s that are "
        "too many, or say --sum-repeated to pay their sum",
    )


def require_confirmed(yes: bool) -> None:
    """Raises CommandError unless the user, or --yes, agrees to pay."""
    if not yes:
        _ask("Report these rewards?", "nothing was sent: say --yes to report these rewards")


def at_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


def _ask(question: str, otherwise: str) -> None:
    if not at_terminal():
        raise CommandError(otherwise)
    if not typer.confirm(question, err=True):
        raise CommandError("nothing was sent")

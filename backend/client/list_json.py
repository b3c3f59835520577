"""Lists in JSON: Merkl's airdrop file, or a list of flat objects.

Merkl's file has amounts in base units as texts, and several reasons for an account, which add up:

    {"rewardToken": "0x…", "rewards": {"0xACCOUNT": {"REASON": "1000000000000000000"}}}

Merkl also takes {"amount": "…", "timestamp": "…"} for a reason.
"""

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from backend.client.list_file import ListError, Row, Table
from backend.client.list_numbers import SAFE_INTEGER_MAX, Unsafe

EXPECTED = (
    'expected Merkl\'s {"rewardToken": "0x…", "rewards": {"0xACCOUNT": {"REASON": "AMOUNT"}}}, or '
    'a list of objects [{"address": "0x…", "amount": "…"}, …]'
)
MERKL_HEADER = ["address", "amount"]


class _Fraction(str):
    """A JSON number with a point or an exponent, as it was written."""

    __slots__ = ()


class _DuplicateKeyError(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _DuplicateKeyError(next(key for key in keys if keys.count(key) > 1))
    return value


def read_json(path: Path, text: str) -> Any:
    """The value. Raises ListError for broken JSON, and for a key that occurs twice in one object:
    most readers would keep one of the two in silence."""

    def constant(name: str) -> NoReturn:
        raise ListError(f"{path}: {name} is not JSON")

    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_float=_Fraction, parse_constant=constant
        )
    except _DuplicateKeyError as error:
        key = str(error)
        raise ListError(f"{path}: the key {key[:80]!r} occurs twice in one object") from error
    except json.JSONDecodeError as error:
        raise ListError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        # A number of more digits than Python reads, or deep nesting.
        raise ListError(f"{path}: not a list in JSON ({type(error).__name__}): {EXPECTED}") from (
            error
        )


def merkl_rewards(path: Path, value: Any) -> tuple[str, Table] | None:
    """(reward token, rows of address and amount, one for each reason) of Merkl's file; None if it
    is not one.

    Raises ListError.
    """
    if not isinstance(value, dict):
        return None
    token, rewards = value.get("rewardToken"), value.get("rewards")
    if not isinstance(token, str) or not isinstance(rewards, dict):
        raise ListError(f"{path}: {EXPECTED}")
    if unknown := [key for key in value if key not in ("rewardToken", "rewards")]:
        raise ListError(f"{path}: {unknown[0][:80]!r}: unknown field: {EXPECTED}")
    rows = [Row(0, MERKL_HEADER)]
    for place, (account, reasons) in enumerate(rewards.items(), start=1):
        if not isinstance(reasons, dict) or not reasons:
            raise ListError(
                f"{path}: rewards[{account[:80]!r}]: expected an object of reasons, each with its "
                "amount as a text"
            )
        for reason, amount in reasons.items():
            if isinstance(amount, dict):
                amount = _with_timestamp(
                    path, f"rewards[{account[:80]!r}][{reason[:80]!r}]", amount
                )
            rows.append(Row(place, [account.strip(), _cell(amount)]))
    return token, Table(rows, "entry", "Merkl's JSON: the reasons of an account are added up")


def _with_timestamp(path: Path, where: str, value: dict[str, Any]) -> Any:
    if "amount" not in value or set(value) - {"amount", "timestamp"}:
        raise ListError(f'{path}: {where}: expected {{"amount": "…", "timestamp": "…"}}')
    return value["amount"]


def object_rows(path: Path, value: Any) -> Table:
    """A list of flat objects with the same keys, as a table with these keys as its header.

    Raises ListError.
    """
    if not isinstance(value, list):
        raise ListError(f"{path}: {EXPECTED}")
    if not value:
        return Table([], "entry")
    header: list[str] = []
    rows = []
    for place, item in enumerate(value, start=1):
        if not isinstance(item, dict):
            raise ListError(f"{path}, entry {place}: expected an object: {EXPECTED}")
        header = header or list(item)
        if set(item) != set(header):
            raise ListError(
                f"{path}, entry {place}: expected the keys of the first entry, "
                f"{_shown(header)}; got {_shown(item)}"
            )
        rows.append(Row(place, [_cell(item[key]) for key in header]))
    return Table([Row(0, header), *rows], "entry")


def _shown(keys: Iterable[str]) -> str:
    """Keys as an error shows them: they come from a stranger's file."""
    return ", ".join(repr(key[:80]) for key in itertools.islice(keys, 20))


def _cell(value: Any) -> str:
    """A value as a text; one that cannot be an amount says why."""
    if isinstance(value, _Fraction):
        return Unsafe(
            value,
            "is a JSON number with a point or an exponent, which programs round: write it as a "
            "text",
        )
    if isinstance(value, str):
        return value.strip()
    if value is None:
        return ""
    if type(value) is int:
        if abs(value) <= SAFE_INTEGER_MAX:
            return str(value)
        return Unsafe(
            str(value), "is a JSON number above 2^53, which many programs round: write it as a text"
        )
    return Unsafe(json.dumps(value)[:80], "is no text: write the amount as one")

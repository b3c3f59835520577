"""backend/cli/failures.py: what an operator sees of what can be expected to go wrong."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import typer
from psycopg.errors import UndefinedTable
from redis import RedisError
from requests.exceptions import ConnectionError as NodeError
from sqlalchemy import create_engine
from sqlalchemy.exc import ProgrammingError

from backend.cli.failures import failures
from backend.config import Settings
from backend.errors import Invalid


def no_database() -> None:
    create_engine("postgresql+psycopg://somebody:secret@127.0.0.1:9/none").connect()


def raising(error: Exception) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (
            raising(Invalid("amount: expected an integer", "amount")),
            "error: amount: expected an integer",
        ),
        (raising(Invalid("[bold] is no markup", "x")), "error: [bold] is no markup"),
        (no_database, "error: PostgreSQL (DATABASE_URL): connection failed"),
        (
            raising(ProgrammingError("SELECT", {}, UndefinedTable("no table"))),
            "error: DATABASE_URL: its tables are missing or old: run `guerdon migrate`",
        ),
        (raising(RedisError("gone")), "error: Redis (REDIS_URL): gone"),
        (raising(httpx.ConnectError("refused")), "error: no answer over HTTP: refused"),
        (
            raising(NodeError("https://node/v3/secret")),
            "error: the node (RPC_URL) does not answer: ConnectionError",
        ),
        (
            Path("/nowhere/at/all.json").read_text,
            "error: /nowhere/at/all.json: No such file or directory",
        ),
        (
            lambda: Settings(tick_seconds="secret"),
            "error: GUERDON_TICK_SECONDS: Input should be a valid number",
        ),
    ],
    ids=["ours", "brackets", "database", "tables", "redis", "api", "node", "file", "setting"],
)
def test_one_line_and_exit_code_one(
    act: Callable[[], None], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason, where it lies with whom, and no secret; what was printed before stays."""
    with pytest.raises(typer.Exit) as caught, failures():
        act()
    assert caught.value.exit_code == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert shown.startswith(said)
    assert "secret" not in shown
    assert "Traceback" not in shown


def test_what_nobody_expects_is_not_hidden() -> None:
    """A mistake of ours keeps its traceback."""
    with pytest.raises(KeyError), failures():
        raise KeyError("x")

"""Who reads the machine's clock: nobody whose answer is compared with another machine's time."""

import ast
from collections.abc import Iterator
from pathlib import Path

BACKEND = Path(__file__).parents[2] / "backend"
READERS = {
    "api/routers/interactions.py": "a webhook's timestamp, with five minutes of tolerance",
    "interaction/service.py": "a report's time, with five minutes of tolerance",
    "client/partner_client.py": "the webhook's timestamp, at the partner",
    "cli/imports.py": "a report's time, at the partner",
    "attestation/envelope.py": "on a local chain alone",
    "attestor/service.py": "on a local chain alone",
    "audit/auditor.py": "the age of the head that the report names: it decides nothing of money",
    "audit/daily_limit.py": "how far ahead a node's head may be: it decides nothing of money",
    "settlement/daily_limit.py": "on a local chain alone",
    "devstack/demo.py": "on a local chain alone",
    "devstack/run.py": "a name",
    "kit/time.py": "where the function is",
}
"""File -> what for. Anything else is a decision that another machine's clock can turn: use the
database's time (`kit.db.db_now`, `in_seconds`), the chain's, or time.monotonic()."""
CALLS = {("time", "time"), ("datetime", "now"), ("datetime", "utcnow"), ("date", "today")}


def clocks(tree: ast.AST) -> Iterator[str]:
    """The calls, or mentions, of what reads the wall clock."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and (node.value.id, node.attr) in CALLS
        ):
            yield f"{node.value.id}.{node.attr}"
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "backend.kit.time"):
            yield from (one.name for one in node.names if one.name in ("time", "utc_now"))


def test_only_these_read_the_machines_clock() -> None:
    """Every other module is free of it."""
    found = {
        str(path.relative_to(BACKEND))
        for path in BACKEND.rglob("*.py")
        if any(clocks(ast.parse(path.read_text())))
    }
    assert found == set(READERS)


def test_a_planted_clock_is_found() -> None:
    """Each way of reading the wall clock is seen; a duration's clock is not one."""
    for text in (
        "time.time()",
        "f(clock=time.time)",
        "datetime.now(UTC)",
        "from backend.kit.time import utc_now",
        "from time import time",
    ):
        assert list(clocks(ast.parse(text))), text
    assert not list(clocks(ast.parse("time.monotonic()")))

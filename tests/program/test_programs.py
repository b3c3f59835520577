"""Programs over HTTP and in the database: several side by side."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from eth_utils import keccak

from backend import tasks
from backend.chain.node import Node
from backend.errors import NotFound, Unavailable
from backend.kit.db import Base
from backend.migrations import config, upgrade
from backend.program import repository as programs
from backend.program.service import describe_token
from tests.support.engine import Api, Engine, address, report

DECIMALS = keccak(text="decimals()")[:4]


def test_all_programs(api: Api) -> None:
    """Every program is listed, oldest first, with its public facts alone."""
    made = [api.engine.program(families=families) for families in (1, 3)]
    listed = api.http.get("/v1/programs").json()
    assert [row["name"] for row in listed][-2:] == [program.name for program in made]
    assert set(listed[0]) == {
        "name",
        "chain_id",
        "distributor",
        "token",
        "token_symbol",
        "token_decimals",
        "verifier",
        "instance",
        "families",
        "finality",
        "last_indexed_block",
        "halted",
        "halted_reason",
    }
    assert [row["families"] for row in listed][-2:] == [1, 3]


def test_amounts_come_with_their_token(api: Api) -> None:
    """Every answer with amounts names the token, its symbol and its decimals; null where the token
    says nothing, never a number that was assumed."""
    dollars = api.engine.program(symbol="USDC", decimals=6)
    silent = api.engine.program(symbol=None, decimals=None)
    for program, facts in ((dollars, ("USDC", 6)), (silent, (None, None))):
        api.engine.take_in(program, [report("e1", amount=30)])
        api.engine.settle(program)
        for path in (
            "",
            f"/accounts/{address('alice')}",
            f"/accounts/{address('alice')}/claim",
            "/batches",
            "/batches/0/1",
            "/interactions/adnet/e1",
        ):
            value = api.get(program, path).json()
            said = (value["token"], value["token_symbol"], value["token_decimals"])
            assert said == (program.token, *facts), path


def test_an_old_program_learns_its_token(engine: Engine) -> None:
    """A program that was registered before symbol and decimals were kept gets them from the chain;
    one that has them is not asked again."""

    class Token:
        asked = 0

        def call(self, to: str, data: bytes, block: Any) -> bytes:
            self.asked += 1
            return (6).to_bytes(32, "big") if data == DECIMALS else b"USDC".ljust(32, b"\0")

    node, program = Token(), engine.program(symbol=None, decimals=None)
    for _ in range(2):
        with engine.database.transaction() as session:
            row = programs.get(session, program.name)
            describe_token(session, cast(Node, node), row)
            assert row.reward_token.text(12_500_000) == "12.5 USDC"
    assert node.asked == 2


@pytest.mark.parametrize("silent", [False, True])
def test_a_worker_asks_at_its_start(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    """For every program of its chain that lacks the facts; a node that does not answer stops no
    worker."""

    class Node:
        def call(self, to: str, data: bytes, block: Any) -> bytes:
            if silent:
                raise Unavailable("the node does not answer")
            return (6).to_bytes(32, "big") if data == DECIMALS else b"USDC".ljust(32, b"\0")

    program = engine.program(symbol=None, decimals=None)
    context = SimpleNamespace(
        database=engine.database, node=Node(), chain_id=program.chain_id, close=lambda: None
    )
    monkeypatch.setattr(tasks, "Context", lambda _: context)
    tasks._describe_tokens()
    with engine.database.transaction() as session:
        token = programs.get(session, program.name).reward_token
    assert (token.symbol, token.decimals) == ((None, None) if silent else ("USDC", 6))


def test_what_the_ledger_holds(api: Api) -> None:
    """reserve is what the contract holds, available_budget what is not promised: rewards, claims
    and funding move them as they should."""
    program = api.engine.program(funded=100)

    def held() -> tuple[str, str]:
        value = api.get(program, "").json()
        return value["reserve"], value["available_budget"]

    assert held() == ("100", "100")
    api.engine.take_in(program, [report("e1", amount=30)])
    assert held() == ("100", "70")
    api.engine.settle(program)
    api.engine.claim(program, address("alice"), 30)
    assert held() == ("70", "70")
    api.engine.fund(program, 5)
    assert held() == ("75", "75")


@pytest.mark.parametrize("name", ["", "nowhere", "a\0", "0x" + "1" * 40, "0x", "' OR 1=1 --"])
def test_unknown_program(engine: Engine, name: str) -> None:
    """What is not a program is not found, locked or not."""
    for lock in (False, True):
        with pytest.raises(NotFound) as caught, engine.database.transaction() as session:
            programs.get(session, name, lock)
        assert caught.value.field == "program"


def test_one_address_on_two_chains(api: Api) -> None:
    """One address may hold a Distributor on each of two chains: their names tell them apart, the
    address alone is a conflict that says so."""
    first, second = (api.engine.program(funded=amount) for amount in (1, 2))
    with api.engine.database.transaction() as session:
        row = session.merge(second)
        row.chain_id, row.distributor = 11_297_108_109, first.distributor
    assert [api.get(program, "").json()["reserve"] for program in (first, second)] == ["1", "2"]
    answer = api.get(first.distributor, "")
    assert (answer.status_code, answer.json()["error"]["field"]) == (409, "program")
    assert first.name in answer.json()["error"]["message"]


def test_tables_are_those_of_the_models(engine: Engine) -> None:
    """The migrations make exactly the tables that the code expects: nothing is left to migrate."""
    with engine.database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, Base.metadata)
    assert [one for one in differences if "ix_" not in str(one)] == []


def test_migrations_go_down_and_up(own_engine: Engine) -> None:
    """Every migration can be taken back, and made again."""
    with own_engine.database.engine.connect() as connection:
        configuration = config()
        configuration.attributes["connection"] = connection
        command.downgrade(configuration, "base")
        connection.commit()
    upgrade(own_engine.database)
    assert own_engine.budget(own_engine.program(funded=5)) == 5

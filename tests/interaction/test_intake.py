"""What becomes of well-formed reports: once each, in order, as far as the money goes."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, func, select, text, update
from sqlalchemy.orm import Session

from backend.interaction import repository
from backend.interaction import service as intake
from backend.interaction.models import DeliverySalt, Interaction, StoredDelivery
from backend.invariant import check_all
from backend.ledger import service as ledger
from backend.partner import repository as partners
from backend.partner.models import PartnerSecret
from backend.partner.schemes.standard_webhooks import generate_secret, make_delivery
from backend.program.models import Program
from tests.support.engine import RICH, Api, Engine, address, item, now, report, signature


def statuses(answer: object) -> list[str]:
    assert answer.status_code in (200, 207, 422), answer.text
    return [result["status"] for result in answer.json()["results"]]


def holds(engine: Engine, program: Program) -> None:
    """No rule of the program's money is broken."""
    with engine.database.snapshot() as session:
        assert check_all(session, program) == []


def rows(engine: Engine, program: Program) -> list[Interaction]:
    with engine.database.transaction() as session:
        return list(
            session.scalars(
                select(Interaction)
                .where(Interaction.program_id == program.id)
                .order_by(Interaction.id)
            )
        )


def test_resend_is_a_duplicate(api: Api) -> None:
    """The same report again, in the same or in another request, changes nothing and says so, with
    the state of the first."""
    program = api.engine.program()
    made = item("e1", amount=10)
    assert statuses(api.post(program, [made])) == ["accepted"]
    again = api.post(program, [made], message_id="msg_2")
    assert (again.status_code, again.json()["results"][0]) == (
        200,
        {"status": "duplicate", "event_id": "e1", "state": "accepted"},
    )
    api.engine.settle(program)
    assert statuses(api.post(program, [made])) == ["duplicate"]
    assert api.engine.owed(program, address("alice")) == 10
    holds(api.engine, program)


@pytest.mark.parametrize(
    "change", [{"amount": "11"}, {"account": address("bob")}, {"occurred_at": 1_700_000_000}]
)
def test_same_event_with_another_content(api: Api, change: dict) -> None:
    """An event id that was reported with another amount, account or time is rejected as a conflict;
    the first report stands."""
    program = api.engine.program()
    made = item("e1", amount=10)
    assert statuses(api.post(program, [made])) == ["accepted"]
    answer = api.post(program, [item("e0"), made | change, item("e2")])
    result = answer.json()["results"][1]
    assert (answer.status_code, statuses(answer)) == (207, ["accepted", "rejected", "accepted"])
    assert (result["reason"], result["field"]) == ("conflict", "interactions[1].event_id")
    # Both are named: the partner's own first report, and what is new.
    first = {"account": made["account"], "amount": "10", "occurred_at": made["occurred_at"]}
    assert result["first"] == first
    [(name, value)] = change.items()
    assert f"{name} {first[name]}, now {value}" in result["message"]
    assert [row.amount for row in rows(api.engine, program) if row.event_id == "e1"] == [10]
    holds(api.engine, program)


def test_event_twice_in_one_request(api: Api) -> None:
    """Within one request the first report of an event counts; an equal one after it is a duplicate,
    another one a conflict."""
    program = api.engine.program()
    made = item("e1", amount=10)
    answer = api.post(program, [made, made, made | {"amount": "9"}, item("e2", amount=5)])
    assert statuses(answer) == ["accepted", "duplicate", "rejected", "accepted"]
    assert api.engine.owed(program, address("alice")) == 15


def test_bad_report_does_not_use_up_its_event(api: Api) -> None:
    """A refused item leaves its event id free: corrected, in the same request or later, it is
    booked."""
    program = api.engine.program()
    bad, good = item("e1", amount="0"), item("e1", amount=10)
    assert statuses(api.post(program, [bad, good])) == ["rejected", "accepted"]
    assert statuses(api.post(program, [item("e2", occurred_at=now() + 9999)])) == ["rejected"]
    assert statuses(api.post(program, [item("e2", amount=1)])) == ["accepted"]
    assert api.engine.owed(program, address("alice")) == 11


def test_partners_and_programs_are_independent(api: Api) -> None:
    """One event id from two partners, and in two programs, is as many events."""
    first, second = api.engine.program(), api.engine.program(funded=5)
    api.engine.partner(first, "gamehouse")
    made = item("e1", amount=10)
    assert statuses(api.post(first, [made])) == ["accepted"]
    assert statuses(api.post(first, [made], "gamehouse")) == ["accepted"]
    assert statuses(api.post(second, [made])) == ["held"]
    assert api.engine.owed(first, address("alice")) == 20
    assert api.engine.owed(second, address("alice")) == 0
    assert api.engine.budget(first) == RICH - 20
    for program in (first, second):
        holds(api.engine, program)


def test_budget_ends_in_the_middle_of_a_list(api: Api) -> None:
    """What the budget does not cover is held with the reason, earns nothing and is never batched;
    funding releases it in order."""
    program = api.engine.program(funded=25)
    items = [item(f"e{i}", f"w{i}", 10) for i in range(5)]
    answer = api.post(program, items)
    assert statuses(answer) == ["accepted", "accepted", "held", "held", "held"]
    assert {result["reason"] for result in answer.json()["results"][2:]} == {"budget_exhausted"}
    assert api.engine.budget(program) == 5
    assert statuses(api.post(program, items)) == ["duplicate"] * 5
    assert api.post(program, items).json()["results"][4]["state"] == "budget_exhausted"
    (batch,) = api.engine.settle(program)
    assert batch.items == 2
    holds(api.engine, program)

    assert api.engine.fund(program, 4) == 0
    assert api.engine.fund(program, 1) == 1
    assert [api.engine.owed(program, address(f"w{i}")) for i in range(5)] == [10, 10, 10, 0, 0]
    assert api.engine.fund(program, 100) == 2
    assert api.engine.fund(program, 100) == 0
    assert [row.state for row in rows(api.engine, program)] == ["accepted"] * 5
    holds(api.engine, program)


def test_order_is_that_of_the_requests(engine: Engine) -> None:
    """Interactions keep the order of the request, whatever their event ids: when booked, when
    released, and in the batch."""
    names = [f"e{i}" for i in (9, 10, 1, 100, 2, 0, 11)]
    program = engine.program(funded=2)
    engine.take_in(program, [report(name, amount=1) for name in names])
    assert [row.event_id for row in rows(engine, program) if row.state == "accepted"] == names[:2]
    assert engine.fund(program, 3) == 3
    assert [row.event_id for row in rows(engine, program) if row.state == "accepted"] == names[:5]
    assert engine.fund(program, 3) == 2
    engine.close(program)
    assert [
        row.event_id for row in sorted(rows(engine, program), key=lambda row: row.item_index)
    ] == names
    holds(engine, program)


def test_program_without_funds(api: Api) -> None:
    """Before the first funding everything is held, and the first funding releases it."""
    program = api.engine.program(funded=0)
    assert statuses(api.post(program, [item("e1", amount=10)])) == ["held"]
    assert api.engine.close(program) == []
    assert api.engine.fund(program, 10) == 1
    holds(api.engine, program)


def test_what_is_too_large_does_not_block_the_rest(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held interactions that no funding so far covers, however many, do not keep what it does cover
    from being released."""
    monkeypatch.setattr(intake, "RELEASE_LIMIT", 3)
    program = engine.program(funded=0)
    engine.take_in(
        program, [*(report(f"big {i}", amount=10**6) for i in range(4)), report("small", amount=7)]
    )
    assert engine.fund(program, 10) == 1
    assert [row.event_id for row in rows(engine, program) if row.state == "accepted"] == ["small"]
    holds(engine, program)


def test_more_held_than_one_release(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release takes the oldest first, a limited number at a time; the next goes on where it
    ended."""
    monkeypatch.setattr(intake, "RELEASE_LIMIT", 3)
    program = engine.program(funded=0)
    engine.take_in(program, [report(f"e{i}", amount=1) for i in range(7)])
    released = [engine.fund(program, 100)]
    while released[-1]:
        with engine.database.transaction() as session:
            released.append(intake.release_held(session, program.id))
    assert released == [3, 3, 1, 0]
    holds(engine, program)


def locked_budget(session: Session, program: Program) -> None:
    """Hold the budget until the transaction ends, as whoever books the chain does."""
    ledger.available_budget(session, program.id, lock=True)


@pytest.mark.parametrize("funded", [0, 10])
def test_nothing_to_release_waits_for_nobody(engine: Engine, funded: int) -> None:
    """With no budget, or with too little for the smallest held one, a release looks at neither the
    budget's lock nor the held rows."""
    program = engine.program(funded=funded)
    engine.take_in(program, [report(f"e{i}", amount=11 + i) for i in range(20)])
    with engine.database.transaction() as holder:
        locked_budget(holder, program)
        with engine.database.transaction() as session:
            session.execute(text("SET LOCAL lock_timeout = '1s'"))
            assert intake.release_held(session, program.id) == 0
    assert engine.fund(program, 11) == 1


def test_release_locks_the_budget_first(engine: Engine) -> None:
    """A release that waits for the budget has not locked the held rows: whoever holds the budget
    may go on to them."""
    program = engine.program(funded=0)
    engine.take_in(program, [report(f"e{i}", amount=1) for i in range(3)])
    with engine.database.transaction() as session:
        ledger.book_funding(session, program.id, "not released yet", 2)

    def release() -> int:
        with engine.database.transaction() as session:
            return intake.release_held(session, program.id)

    with ThreadPoolExecutor(1) as pool:
        with engine.database.transaction() as holder:
            locked_budget(holder, program)
            releasing = pool.submit(release)
            wait_for_a_waiter(engine)
            holder.execute(
                text(
                    "SELECT id FROM interaction WHERE program_id = :id AND state = 'held' FOR "
                    "UPDATE NOWAIT"
                ),
                {"id": program.id},
            )
        assert releasing.result() == 2
    holds(engine, program)


def wait_for_a_waiter(engine: Engine) -> None:
    """Until some connection to this database waits for a lock."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND "
        "wait_event_type = 'Lock'"
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with engine.database.transaction() as session:
            if session.scalar(query):
                return
        time.sleep(0.02)
    raise AssertionError("nobody waits for a lock")


def test_smallest_held_is_looked_up(own_engine: Engine) -> None:
    """The smallest held amount comes from an index, however many are held and larger than what
    there is."""
    program = own_engine.program(funded=0)
    for part in range(3):
        own_engine.take_in(program, [report(f"e{part}-{i}", amount=10**6 + i) for i in range(1000)])
    with own_engine.database.transaction() as session:
        session.execute(text("ANALYZE interaction"))
        plans: list[str] = []

        def explain(
            connection: Any, cursor: Any, statement: str, parameters: Any, *_: object
        ) -> None:
            if "min(" in statement:
                plans.extend(
                    row[0] for row in cursor.connection.execute("EXPLAIN " + statement, parameters)
                )

        event.listen(own_engine.database.engine, "before_cursor_execute", explain)
        assert repository.smallest_held(session, program.id, intake.BUDGET_EXHAUSTED) == 10**6
        event.remove(own_engine.database.engine, "before_cursor_execute", explain)
    assert any("ix_interaction_held_amount" in line for line in plans), plans


def test_evidence_is_kept_as_received(api: Api) -> None:
    """A delivery with news is kept byte for byte, its hash follows from it and its salt; one
    without news leaves no row."""
    program, stamp = api.engine.program(), str(now())
    body = b' {"interactions": [' + str(item("e1")).replace("'", '"').encode() + b"]}\n"
    for _ in range(2):
        api.send(program, body, message_id="msg_é".replace("é", "e"), timestamp=stamp)
    with api.engine.database.transaction() as session:
        (row,) = session.scalars(
            select(StoredDelivery).where(StoredDelivery.program_id == program.id)
        )
        salt = session.get_one(DeliverySalt, row.id).salt
    sent = make_delivery(
        "msg_e",
        stamp,
        signature(api.engine.secrets[program.id, "adnet"], "msg_e", stamp, body),
        body,
        f"/v1/programs/{program.name}/interactions",
    )
    assert row.delivery == sent
    assert (len(salt), row.evidence) == (32, sent.hash(salt))
    assert {made.delivery_id for made in rows(api.engine, program)} == {row.id}


def test_rotating_secrets(api: Api) -> None:
    """While a partner rotates, either secret signs, alone or beside the other's signature; a
    revoked one no longer does."""
    program = api.engine.program()
    old, new, stranger = (
        api.engine.secrets[program.id, "adnet"],
        generate_secret(),
        generate_secret(),
    )
    with api.engine.database.transaction() as session:
        session.add(
            PartnerSecret(partner_id=partners.get(session, program.id, "adnet").id, secret=new)
        )

    def both(event: str, *secrets: str) -> int:
        body, stamp = (
            b'{"interactions": [' + str(item(event)).replace("'", '"').encode() + b"]}",
            str(now()),
        )
        offered = " ".join(signature(secret, "msg_1", stamp, body) for secret in secrets)
        return api.send(
            program, body, timestamp=stamp, headers={"webhook-signature": offered}
        ).status_code

    assert [
        both(f"{i}", *offered)
        for i, offered in enumerate([(old,), (new,), (old, new), (stranger, new), (new, stranger)])
    ] == [200] * 5
    assert both("x", stranger) == 401
    with api.engine.database.transaction() as session:
        session.execute(
            update(PartnerSecret)
            .where(PartnerSecret.secret == old)
            .values(revoked_at=datetime.now(UTC))
        )
    assert [both("a", old), both("b", stranger, old), both("c", new), both("d", old, new)] == [
        401,
        401,
        200,
        200,
    ]
    with api.engine.database.transaction() as session:
        session.execute(
            update(PartnerSecret)
            .where(PartnerSecret.secret == new)
            .values(revoked_at=datetime.now(UTC))
        )
    assert both("e", new) == 401


def test_many_senders_of_the_same_events(api: Api) -> None:
    """Eight senders report the same events in orders of their own, all at once: each is booked
    once, and nobody sees an error."""
    program = api.engine.program(funded=10**9)
    events = [item(f"e{i:03d}", f"w{i % 7}", 1 + i) for i in range(120)]
    start = threading.Barrier(8)

    def send(seed: int) -> list[str]:
        mine = list(events)
        random.Random(seed).shuffle(mine)
        start.wait()
        return [
            status
            for at in range(0, 120, 40)
            for status in statuses(api.post(program, mine[at : at + 40], message_id=f"msg_{seed}"))
        ]

    with ThreadPoolExecutor(8) as pool:
        answers = [status for outcome in pool.map(send, range(8)) for status in outcome]
    assert (answers.count("accepted"), answers.count("duplicate")) == (120, 7 * 120)
    assert api.engine.budget(program) == 10**9 - sum(range(1, 121))
    holds(api.engine, program)


def test_many_senders_and_too_little_money(api: Api) -> None:
    """Under concurrency the budget is never overdrawn: what is accepted is covered, the rest is
    held, and funding releases all."""
    program = api.engine.program(funded=500)

    def send(sender: int) -> list[str]:
        return statuses(api.post(program, [item(f"{sender}-{i}", f"w{i}", 10) for i in range(20)]))

    with ThreadPoolExecutor(6) as pool:
        answers = [status for outcome in pool.map(send, range(6)) for status in outcome]
    assert (answers.count("accepted"), answers.count("held")) == (50, 70)
    assert api.engine.budget(program) == 0
    holds(api.engine, program)
    assert api.engine.fund(program, 10_000) == 70
    holds(api.engine, program)


def test_counts_agree(engine: Engine) -> None:
    """Every interaction row has the delivery that brought it, of the same partner and program."""
    program = engine.program()
    engine.take_in(program, [report(f"e{i}") for i in range(3)])
    engine.take_in(program, [report("e2"), report("e3")])
    with engine.database.transaction() as session:
        query = (
            select(func.count())
            .select_from(Interaction)
            .join(StoredDelivery, StoredDelivery.id == Interaction.delivery_id)
        )
        same = (StoredDelivery.partner_id == Interaction.partner_id) & (
            StoredDelivery.program_id == Interaction.program_id
        )
        assert session.scalar(query.where(Interaction.program_id == program.id, same)) == 4
        positions = (
            select(Interaction.position)
            .where(Interaction.program_id == program.id)
            .order_by(Interaction.id)
        )
        assert list(session.scalars(positions)) == [0, 1, 2, 1]

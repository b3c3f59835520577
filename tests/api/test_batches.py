"""Batches over HTTP."""

import pytest

from prover.wire import Deltas
from tests.support.engine import OPERATOR_KEY, Api, address, report


def refused(answer: object, status: int, field: str) -> None:
    assert (answer.status_code, answer.json()["error"]["field"]) == (status, field), answer.text


def test_pages(api: Api) -> None:
    """Pages follow each other newest first, without a gap or a repetition, and end; batches of
    other programs are not among them."""
    program, other = api.engine.program(items_max=1), api.engine.program()
    for number in range(5):
        api.engine.take_in(program, [report(number)])
        api.engine.close(program)
        api.engine.take_in(other, [report(number)])
        api.engine.close(other)
    for limit in (1, 2, 5, 200):
        seen, before = [], {}
        while True:
            page = api.get(program, "/batches", params={"limit": limit} | before).json()
            assert len(page["batches"]) <= limit
            seen += [batch["sequence"] for batch in page["batches"]]
            if page["next"] is None:
                break
            before = {"before": page["next"]}
        assert seen == [5, 4, 3, 2, 1], limit
    empty = api.get(api.engine.program(), "/batches").json()
    assert (empty["batches"], empty["next"]) == ([], None)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("before=0", "before"),
        ("before=-1", "before"),
        ("before=1.5", "before"),
        (f"before={2**63}", "before"),
        (f"before={10**40}", "before"),
    ],
)
def test_bad_page(api: Api, query: str, field: str) -> None:
    """A page that cannot be is a 422 that names the parameter."""
    refused(api.get(api.engine.program(), f"/batches?{query}"), 422, field)


@pytest.mark.parametrize(
    ("path", "status"),
    [("0/1", 404), ("1/1", 404), ("0/0", 404), (f"{2**31 - 1}/1", 404), (f"0/{2**31 - 1}", 404)],
)
def test_unknown_batch(api: Api, path: str, status: int) -> None:
    """A batch that is not there is a 404."""
    refused(api.get(api.engine.program(), f"/batches/{path}"), status, "sequence")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("x/1", "bucket"),
        ("0/x", "sequence"),
        ("-1/1", "bucket"),
        ("0/-1", "sequence"),
        ("0/1.5", "sequence"),
        (f"{2**31}/1", "bucket"),
        (f"0/{2**63}", "sequence"),
        (f"{10**40}/1", "bucket"),
    ],
)
def test_bad_batch(api: Api, path: str, field: str) -> None:
    """What cannot name a batch is a 422 that names the field."""
    refused(api.get(api.engine.program(), f"/batches/{path}"), 422, field)


def test_one_batch(api: Api) -> None:
    """A batch shows its roots, deltas and touched slots, which say the same; amounts are decimal
    texts."""
    program = api.engine.program()
    api.engine.take_in(program, [report("e1", "alice", 5), report("e2", "bob", 2**90)])
    api.engine.settle(program)
    api.engine.take_in(
        program, [report("e3", "bob", 7), report("e4", "carol", 1), report("e5", "bob", 3)]
    )
    api.engine.close(program)
    value = api.get(program, "/batches/0/2").json()
    deltas = Deltas.decode(bytes.fromhex(value["deltas"][2:]), 2, 32)
    assert (deltas.existing, deltas.opened) == (((1, 10),), ((int(address("carol"), 16), 1),))
    assert value["accounts"] == [
        {"slot": 1, "address": address("bob"), "delta": "10", "cumulative": str(2**90 + 10)},
        {"slot": 2, "address": address("carol"), "delta": "1", "cumulative": "1"},
    ]
    assert (value["items"], value["accounts_touched"], value["total"], value["state"]) == (
        3,
        2,
        "11",
        "closed",
    )
    assert (value["attestors"], value["proof"], value["digest"], value["tx_hash"]) == (
        [],
        None,
        None,
        None,
    )
    before = api.get(program, "/batches/0/1").json()
    assert (before["new_root"], before["state"], before["gas_used"]) == (
        value["old_root"],
        "final",
        300_000,
    )
    assert (len(before["tx_hash"]), before["batches_in_tx"]) == (66, 1)


def test_notes_are_for_the_operator(api: Api) -> None:
    """Why a batch waits or failed can hold a node's URL or an attestor's words: it is not in public
    answers."""
    program = api.engine.program()
    api.engine.take_in(program, [report("e1")])
    (batch,) = api.engine.close(program)
    with api.engine.database.transaction() as session:
        session.merge(batch).note = "HTTPError: 401 for url: https://node.example/v3/secret-key"
        session.merge(program).halted = "booking failed: https://node.example/v3/secret-key"
    for path in ("", "/batches", "/batches/0/1"):
        answer = api.get(program, path)
        assert answer.is_success
        assert "secret-key" not in answer.text
    assert "secret-key" not in api.http.get("/v1/programs").text
    assert api.get(program, "").json()["halted"] is True


def test_close_now_closes_everything(api: Api) -> None:
    """The operator's call closes all that is open, in as many transactions as it takes, and returns
    every batch once."""
    program = api.engine.program(items_max=1)
    api.engine.take_in(program, [report(number) for number in range(11)])
    headers = {"authorization": f"Bearer {OPERATOR_KEY}"}
    answer = api.http.post(f"/v1/programs/{program.name}/batches/close", headers=headers)
    assert [(batch["bucket"], batch["sequence"], batch["items"]) for batch in answer.json()] == [
        (0, i, 1) for i in range(1, 12)
    ]

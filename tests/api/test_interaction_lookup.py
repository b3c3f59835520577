"""The public state of one interaction, and the proof that it was posted."""

from urllib.parse import quote

import pytest

from prover.eip712 import Domain, TypedInteraction, event_hash, partner_hash
from prover.merkle import LEAF_TYPES, Leaf, verify
from tests.support.engine import Api, address, item, now, report


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def test_states(api: Api) -> None:
    """held, accepted, batched, posted: as the interaction moves, with its batch and, at the end,
    its proof."""
    program = api.engine.program(funded=0)
    api.engine.take_in(program, [report("e1", amount=10)])

    def state() -> tuple:
        value = api.get(program, "/interactions/adnet/e1").json()
        return (
            value["state"],
            value["held_reason"],
            value["batch"] and value["batch"]["state"],
            value["membership"] is not None,
        )

    assert state() == ("held", "budget_exhausted", None, False)
    api.engine.fund(program, 10)
    assert state() == ("accepted", None, None, False)
    (batch,) = api.engine.close(program)
    assert state() == ("batched", None, "closed", False)
    api.engine.finalize(program, batch)
    assert state() == ("posted", None, "final", True)


@pytest.mark.parametrize("count", [1, 2, 7, 32])
def test_membership_proofs(api: Api, count: int) -> None:
    """Every interaction of a posted batch proves that it is in it, by hashes that anyone can make
    from the public fields."""
    program = api.engine.program()
    made = [report(f"{count}-{i}", f"w{i % 5}", 100 + i) for i in range(count)]
    api.engine.take_in(program, made)
    (batch,) = api.engine.settle(program)
    domain = Domain(program.chain_id, program.distributor)
    roots = set()
    for index, one in enumerate(made):
        value = api.get(program, f"/interactions/adnet/{one.event_id}").json()
        fields, proof = value["interaction"], value["membership"]
        again = TypedInteraction(
            domain.program,
            partner_hash("adnet"),
            event_hash(one.event_id),
            one.account,
            one.amount,
            one.occurred_at,
            unhex(fields["evidence"]),
        )
        names = ("program", "partner", "event_id", "hash")
        assert [unhex(fields[name]) for name in names] == [
            again.program,
            again.partner,
            again.event_id,
            again.hash,
        ]
        leaf = Leaf(index, again.hash, one.account, one.amount)
        assert proof["leaf_types"] == list(LEAF_TYPES)
        assert proof["leaf"] == [str(index), "0x" + again.hash.hex(), one.account, str(one.amount)]
        siblings = [unhex(sibling) for sibling in proof["proof"]]
        assert verify(unhex(proof["interactions_root"]), leaf, siblings)
        assert not verify(
            unhex(proof["interactions_root"]),
            Leaf(index, again.hash, one.account, one.amount + 1),
            siblings,
        )
        assert value["batch"] == {
            "bucket": 0,
            "sequence": 1,
            "item_index": index,
            "state": "final",
            "tx_hash": value["batch"]["tx_hash"],
        }
        roots.add(proof["interactions_root"])
    assert roots == {"0x" + batch.interactions_root.hex()}


@pytest.mark.parametrize(
    "event_id",
    ["a/b", "a//b", "/a", "a/", "//", "x/claim", "a%2Fb", "?q=1#f", "e" * 128, '"<>\\^`{|}'],
)
def test_any_event_id_is_found(served: Api, event_id: str) -> None:
    """An event id with slashes, dots or percent signs in it is found by its percent-encoded
    form."""
    program = served.engine.program()
    assert served.post(program, [item(event_id)]).status_code == 200
    answer = served.get(program, f"/interactions/adnet/{quote(event_id, safe='')}")
    assert (answer.status_code, answer.json().get("event_id")) == (200, event_id)


@pytest.mark.parametrize(
    ("event_id", "status"),
    [
        ("e2", 404),
        ("E1", 404),
        ("e1/", 404),
        ("e" * 129, 422),
        ("%00", 404),
        ("%C3%A9", 404),
        ("", 404),
    ],
)
def test_unknown_event(api: Api, event_id: str, status: int) -> None:
    """An event that nobody reported is a 404, one that cannot be an id a 4xx; both name the
    field."""
    program = api.engine.program()
    api.engine.take_in(program, [report("e1")])
    answer = api.get(program, f"/interactions/adnet/{event_id}")
    assert (answer.status_code, answer.json()["error"]["field"]) == (status, "event_id")


@pytest.mark.parametrize("partner", ["nobody", "%00", "ADNET", "x" * 200])
def test_unknown_partner(api: Api, partner: str) -> None:
    """A partner that the program does not have is a 404 that names the field."""
    answer = api.get(api.engine.program(), f"/interactions/{partner}/e1")
    assert (answer.status_code, answer.json()["error"]["field"]) == (404, "partner")


def test_partner_of_another_program(api: Api) -> None:
    """An event is found under its own program alone."""
    first, second = api.engine.program(), api.engine.program()
    api.engine.take_in(first, [report("e1", amount=1)])
    assert api.get(first, "/interactions/adnet/e1").json()["amount"] == "1"
    assert api.get(second, "/interactions/adnet/e1").status_code == 404


def test_fields(api: Api) -> None:
    """What was reported is what is shown, in base units and Unix seconds."""
    program, at = api.engine.program(), now() - 99
    api.post(
        program,
        [item("e1", account=address("alice").lower(), amount=str(2**96 - 1), occurred_at=at)],
    )
    value = api.get(program, "/interactions/adnet/e1").json()
    assert (value["account"], value["amount"], value["occurred_at"]) == (
        address("alice"),
        str(2**96 - 1),
        at,
    )

"""What is public of an account, and the call that claims."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from backend.account import repository as accounts
from backend.api.claims import ClaimsSeen
from backend.batch.content import bucket_tree
from backend.chain import calldata
from backend.errors import Unavailable
from backend.ledger import service as ledger
from backend.payout import service as payouts
from backend.program.models import Program
from prover.circuit import load_instance
from prover.tree import root_from_siblings
from tests.support.engine import Api, Engine, address, fresh_engine, item, report

DEV = load_instance("dev")


def standing(api: Api, program: Program, account: str) -> dict:
    """The account's answer, whose parts must always add up."""
    answer = api.get(program, f"/accounts/{account}")
    assert answer.status_code == 200, answer.text
    value = answer.json()
    pending = sum(int(amount) for amount in value["pending"].values())
    paid_or_payable = sum(int(value[name]) for name in ("claimable", "claiming", "claimed"))
    assert int(value["earned"]) == pending + paid_or_payable
    assert all(int(amount) > 0 for amount in [*value["pending"].values(), *value["held"].values()])
    return value


def test_unknown_address_has_earned_nothing(api: Api) -> None:
    """An address that nobody reported stands at 0, without a home."""
    value = standing(api, api.engine.program(), address("nobody"))
    assert (
        value["earned"],
        value["pending"],
        value["claimable"],
        value["bucket"],
        value["slot"],
    ) == ("0", {}, "0", None, None)


@pytest.mark.parametrize(
    "text_",
    [
        "0x",
        "0x12",
        "alice",
        "0x" + "g" * 40,
        "0x" + "0" * 40,
        "0x" + "1" * 41,
        "%00",
        "0xDEADbeef" + "0" * 32,
    ],
)
def test_bad_address(api: Api, text_: str) -> None:
    """What is not an address is a 422 that names the field, on both routes."""
    for tail in ("", "/claim"):
        answer = api.get(api.engine.program(), f"/accounts/{text_}{tail}")
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, "address")


def test_any_case_is_one_account(api: Api) -> None:
    """Lower case and EIP-55 name one account; a wrong checksum is refused with the right one."""
    program, alice = api.engine.program(), address("alice")
    api.engine.take_in(program, [report("e1")])
    assert standing(api, program, alice) == standing(api, program, alice.lower())
    answer = api.get(program, f"/accounts/{alice[:2] + alice[2:].swapcase()}")
    assert answer.status_code == 422
    assert alice in answer.json()["error"]["message"]


def test_life_of_a_reward(api: Api) -> None:
    """earned = pending + claimable + claimed from report to payment: accepted, batched, claimable,
    claimed, and again."""
    program, alice = api.engine.program(funded=100), address("alice")
    api.engine.take_in(program, [report("e1", amount=60), report("e2", amount=50)])
    value = standing(api, program, alice)
    assert (value["earned"], value["pending"], value["held"]) == (
        "60",
        {"accepted": "60"},
        {"budget_exhausted": "50"},
    )

    (batch,) = api.engine.close(program)
    assert standing(api, program, alice)["pending"] == {"batched": "60"}
    api.engine.finalize(program, batch)
    value = standing(api, program, alice)
    assert (
        value["pending"],
        value["claimable"],
        value["claimed"],
        value["bucket"],
        value["slot"],
    ) == ({}, "60", "0", 0, 0)

    api.engine.claim(program, alice, 60)
    assert api.engine.fund(program, 10) == 1
    value = standing(api, program, alice)
    assert (value["earned"], value["pending"], value["held"]) == ("110", {"accepted": "50"}, {})
    assert (value["claimable"], value["claimed"]) == ("0", "60")
    api.engine.settle(program)
    assert standing(api, program, alice)["claimable"] == "50"


def test_partial_claim_leaves_the_rest(api: Api) -> None:
    """A claim against an older root leaves what came after it claimable."""
    program, alice = api.engine.program(), address("alice")
    for event in ("e1", "e2"):
        api.engine.take_in(program, [report(event, amount=70)])
        api.engine.settle(program)
    api.engine.claim(program, alice, 70, recipient=address("elsewhere"))
    value = standing(api, program, alice)
    assert (value["earned"], value["claimable"], value["claimed"]) == ("140", "70", "70")


def test_standing_is_read_at_one_moment(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is booked while an account is being read is in all parts of the answer or in none."""
    program, alice = api.engine.program(), address("alice")
    api.engine.take_in(program, [report("e1", amount=5)])
    owed = ledger.owed

    def owed_and_then_more(*arguments: object) -> int:
        value = owed(*arguments)
        api.engine.take_in(program, [report("e2", amount=7)])
        return value

    monkeypatch.setattr(payouts.ledger, "owed", owed_and_then_more)
    assert standing(api, program, alice)["pending"] == {"accepted": "5"}


def claim(api: Api, program: Program, account: str) -> dict:
    """The account's claim, whose siblings must lead to the root of its sequence, and whose calldata
    must say the same."""
    answer = api.get(program, f"/accounts/{account}/claim")
    assert answer.status_code == 200, answer.text
    value = answer.json()
    pair = (value["slot"], int(value["account"], 16), int(value["cumulative"]))
    siblings = [int(sibling) for sibling in value["siblings"]]
    batch = api.get(program, f"/batches/{value['bucket']}/{value['sequence']}").json()
    assert root_from_siblings(DEV.levels, [pair], siblings) == int(batch["new_root"])
    assert (batch["state"], value["to"], value["chain_id"]) == (
        "final",
        program.distributor,
        program.chain_id,
    )

    expected = calldata.claim(
        value["bucket"],
        value["slot"],
        value["sequence"],
        value["account"],
        int(value["cumulative"]),
        siblings,
    )
    assert bytes.fromhex(value["calldata"][2:]) == expected
    return value


def test_claim_of_every_account(api: Api) -> None:
    """Each account of two buckets gets siblings to its newest final root; a batch under way changes
    nothing."""
    program = api.engine.program()
    names = [f"holder {i}" for i in range(40)]
    api.engine.take_in(program, [report(name, name, 10 + i) for i, name in enumerate(names)])
    api.engine.settle(program)
    api.engine.take_in(program, [report(f"{name} again", name, 1) for name in names])
    api.engine.close(program)
    claims = [claim(api, program, address(name)) for name in names]
    assert [int(value["claimable"]) for value in claims] == [10 + i for i in range(40)]
    assert {value["bucket"] for value in claims} == {0, 1}
    assert len({(value["bucket"], value["slot"]) for value in claims}) == 40


def test_claim_after_claim(api: Api) -> None:
    """claimable is what is left, cumulative all that was ever earned: the contract subtracts."""
    program, alice = api.engine.program(), address("alice")
    for amount in (3, 4):
        api.engine.take_in(program, [report(f"e{amount}", amount=amount)])
        api.engine.settle(program)
    api.engine.claim(program, alice, 3)
    value = claim(api, program, alice)
    assert (value["cumulative"], value["claimable"], value["sequence"]) == ("7", "4", 2)


def test_nothing_to_claim(api: Api) -> None:
    """404 before anything of the account is final, 409 once all of it is paid; each has a code of
    its own."""
    program, alice = api.engine.program(), address("alice")

    def refusal() -> tuple[int, str, str]:
        answer = api.get(program, f"/accounts/{alice}/claim")
        return answer.status_code, answer.json()["error"]["code"], answer.json()["error"]["field"]

    assert refusal() == (404, "nothing_posted", "address")
    api.engine.take_in(program, [report("e1")])
    assert refusal() == (404, "nothing_posted", "address")
    (batch,) = api.engine.close(program)
    assert refusal() == (404, "nothing_posted", "address")
    api.engine.finalize(program, batch)
    assert claim(api, program, alice)["claimable"] == "1000"
    api.engine.claim(program, alice, 1000)
    assert refusal() == (409, "nothing_to_claim", "address")


class Chain:
    """A node that says what the Distributor has paid, at block 77."""

    def __init__(self, paid: int, chain_id: int = 31337) -> None:
        self.paid, self._chain_id, self.asked = paid, chain_id, 0

    def chain_id(self) -> int:
        return self._chain_id

    def block_number(self) -> int:
        return 77

    def call(self, to: str, data: bytes, block: object, **_: object) -> bytes:
        assert block == 77
        self.asked += 1
        if self.paid < 0:
            raise Unavailable("the node does not answer")
        return self.paid.to_bytes(32, "big")


@pytest.mark.parametrize(
    ("paid", "claimable", "claiming"),
    [(30, "70", "0"), (80, "20", "50"), (100, "0", "70"), (0, "70", "0"), (130, "0", "70")],
    ids=["final claims alone", "a part", "all", "a node behind", "a node ahead by a batch"],
)
def test_claims_that_are_not_final(
    api: Api, monkeypatch: pytest.MonkeyPatch, paid: int, claimable: str, claiming: str
) -> None:
    """What the chain has paid in blocks that are not final is not offered again, and is shown as
    being claimed."""
    program, alice = api.engine.program(), address("alice")
    api.engine.take_in(program, [report("e1", amount=100)])
    api.engine.settle(program)
    api.engine.claim(program, alice, 30)
    chain = Chain(paid)
    monkeypatch.setattr(api.http.app.state.resources, "claims", ClaimsSeen(lambda: chain))
    value = standing(api, program, alice)
    sums = [int(value[name]) for name in ("claimable", "claiming", "claimed")]
    assert (value["claimable"], value["claiming"], value["claimed"]) == (claimable, claiming, "30")
    assert (value["seen_at_block"], sum(sums)) == (77, int(value["earned"]))
    answer = api.get(program, f"/accounts/{alice}/claim")
    if claimable == "0":
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (409, "claim_not_final")
        assert "block 77" in error["message"]
    else:
        assert (answer.json()["claimable"], answer.json()["claiming"]) == (claimable, claiming)
        assert answer.json()["cumulative"] == "100"


def test_claims_without_a_node(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that does not answer, or that is on another chain, leaves the ledger's own numbers and
    says so; it is not asked again at once."""
    program, alice = api.engine.program(), address("alice")
    api.engine.take_in(program, [report("e1", amount=100)])
    api.engine.settle(program)
    for chain in (Chain(-1), Chain(100, chain_id=1)):
        monkeypatch.setattr(api.http.app.state.resources, "claims", ClaimsSeen(lambda c=chain: c))
        for _ in range(3):
            value = standing(api, program, alice)
            assert (value["claimable"], value["claiming"], value["seen_at_block"]) == (
                "100",
                "0",
                None,
            )
            assert claim(api, program, alice)["claimable"] == "100"
        assert chain.asked == (chain.paid < 0)


def test_claim_is_read_at_one_moment(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that becomes final while the claim is being made up does not mix two states into one
    call."""
    program, alice = api.engine.program(), address("alice")
    api.engine.take_in(program, [report("e1")])
    api.engine.settle(program)
    api.engine.take_in(program, [report("e2")])
    (second,) = api.engine.close(program)
    account_of = accounts.by_address

    def account_and_then_final(*arguments: object) -> object:
        found = account_of(*arguments)
        api.engine.finalize(program, second)
        return found

    monkeypatch.setattr(accounts, "by_address", account_and_then_final)
    assert claim(api, program, alice)["sequence"] == 1


def test_programs_do_not_mix(api: Api) -> None:
    """One address in two programs has two homes, two balances and two claims."""
    first, second, alice = api.engine.program(), api.engine.program(), address("alice")
    api.engine.take_in(second, [report("other", "bob")])
    for program, amount in ((first, 5), (second, 6)):
        api.engine.take_in(program, [report("e", amount=amount)])
        api.engine.settle(program)
    assert [claim(api, program, alice)["cumulative"] for program in (first, second)] == ["5", "6"]
    assert [claim(api, program, alice)["slot"] for program in (first, second)] == [0, 1]


@pytest.mark.parametrize(
    "path",
    ["/accounts/{account}", "/accounts/{account}/claim", "/batches", "/interactions/adnet/e1", ""],
)
def test_unknown_program(api: Api, path: str) -> None:
    """Every route of a program that is not there, or that cannot be a name, is a 404 that names the
    field."""
    for name in ("nowhere", "0x" + "1" * 40, "%00", "%F0%9F%98%80", "a" * 300):
        answer = api.get(name, path.format(account=address("alice")))
        assert (answer.status_code, answer.json()["error"]["field"]) == (404, "program"), name


def test_program_by_its_contract(api: Api) -> None:
    """A program answers to its name and to its Distributor's address in any case."""
    program = api.engine.program(funded=77)
    answers = [
        api.get(name, "").json()
        for name in (program.name, program.distributor, program.distributor.lower())
    ]
    assert answers[0] == answers[1] == answers[2]
    assert (answers[0]["reserve"], answers[0]["available_budget"]) == ("77", "77")


def test_nothing_private_is_public(api: Api) -> None:
    """No public answer holds a secret, a salt, a signature, a raw body or a message id."""
    program = api.engine.program()
    sent = api.post(program, [item("private-event-1")], message_id="msg_private_id")
    assert sent.status_code == 200
    api.engine.settle(program)
    with api.engine.database.transaction() as session:
        row = session.execute(
            text(
                "SELECT salt, headers, body FROM delivery JOIN delivery_salt ON delivery_id "
                "= delivery.id WHERE program_id = :id"
            ),
            {"id": program.id},
        ).one()
    private = [
        api.engine.secrets[program.id, "adnet"].removeprefix("whsec_"),
        bytes(row.salt).hex(),
        dict(row.headers)["webhook-signature"].removeprefix("v1,"),
        "msg_private_id",
        bytes(row.body).hex(),
        "private-event-1",
    ]
    paths = [
        "",
        "/batches",
        "/batches/0/1",
        f"/accounts/{address('alice')}",
        f"/accounts/{address('alice')}/claim",
    ]
    answers = [api.get(program, path) for path in paths] + [
        sent,
        api.http.get("/v1/programs"),
        api.http.get("/openapi.json"),
    ]
    for answer in answers:
        assert answer.is_success
        for value in private[: 5 if answer is sent else 6]:
            assert value not in answer.text, answer.url
    own = api.get(program, "/interactions/adnet/private-event-1")
    assert own.status_code == 200
    assert not any(value in own.text for value in private[:5])
    assert json.loads(own.text)["interaction"]["evidence"].startswith("0x")


def test_trees_are_kept_by_their_root() -> None:
    """Trees are cached by what they hold: another database, with the same ids and other amounts,
    gets its own."""
    for amount in (11, 12):
        with fresh_engine() as engine:
            program = engine.program()
            engine.take_in(program, [report("e", amount=amount)])
            (batch,) = engine.settle(program)
            with engine.database.snapshot() as session:
                call = payouts.claim_call(session, program, address("alice"))
        pair = (call.slot, int(call.account, 16), call.cumulative)
        assert root_from_siblings(DEV.levels, [pair], call.siblings) == batch.new_root
        assert (program.id, batch.bucket, batch.sequence, call.cumulative) == (1, 0, 1, amount)


def test_a_tree_is_made_once_however_many_claim(
    own_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claims that ask for a bucket's new tree at a time wait for one that makes it."""
    program, names = own_engine.program(), [address(f"at once {i}") for i in range(6)]
    own_engine.take_in(program, [report(a, a) for a in names])
    (batch,) = own_engine.settle(program)
    made, together = [], threading.Barrier(len(names))

    def counted(*arguments: object) -> object:
        made.append(1)
        time.sleep(0.2)
        return bucket_tree(*arguments)

    monkeypatch.setattr(payouts, "bucket_tree", counted)

    def ask(account: str) -> payouts.ClaimCall:
        with own_engine.database.snapshot() as session:
            together.wait()
            return payouts.claim_call(session, program, account)

    with ThreadPoolExecutor(len(names)) as pool:
        calls = list(pool.map(ask, names))
    assert len(made) == 1
    for call in calls:
        pair = (call.slot, int(call.account, 16), call.cumulative)
        assert root_from_siblings(DEV.levels, [pair], call.siblings) == batch.new_root

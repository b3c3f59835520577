"""Batches posted through another contract: a stranger chooses the calldata around the call, and
must not make an honest batch look false."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from eth_abi import decode, encode
from eth_utils import keccak
from web3 import Web3

from backend.audit import posting
from backend.audit.attestations import attestation_problems
from backend.audit.auditor import audit
from backend.audit.replay import AttestorSet
from backend.audit.report import AuditReport
from backend.chain.calldata import _POST, POST_BATCH, Attestation, post_batches
from backend.chain.deploy import Deployer
from backend.chain.node import Node
from backend.chain.web3_node import Web3Node
from backend.errors import Unavailable
from backend.signer.keystore import KeystoreSigner
from prover.state import family
from tests.audit.conftest import LyingProvider
from tests.support.anvil import anvil
from tests.support.program import Posting, Program, account, permissive_program, real_program

pytestmark = pytest.mark.usefixtures("remembered_proofs")

ANN, BOB = (
    next(
        account(f"{name} {i}").address
        for i in range(99)
        if family(int(account(f"{name} {i}").address, 16), 2) == bucket
    )
    for bucket, name in enumerate(("ann", "bob"))
)
"""Accounts of bucket 0 and of bucket 1."""
EXECUTE = keccak(text="execute(address,bytes)")[:4]


def wrapped(program: Program, decoys: Sequence[Posting], last: Posting) -> bytes:
    """Calldata of a wallet's `execute` with the decoys between its head and the call that it
    makes."""
    before = b"".join(program.calldata(decoy) for decoy in decoys)
    before += bytes(-len(before) % 32)
    call = encode(["bytes"], [program.calldata(last)])[32:]
    return (
        EXECUTE
        + encode(["address", "uint256"], [program.address, 64 + len(before)])
        + before
        + call
    )


def unsigned(posting: Posting, number: int) -> Posting:
    """The batch with signatures that are none, different for each number."""
    garbage = number.to_bytes(32, "big") * 2 + b"\x1b"
    return replace(
        posting,
        attestations=[Attestation(given.attestor, garbage) for given in posting.attestations],
    )


def unproven(posting: Posting, number: int) -> Posting:
    """The batch with its signatures and a proof that is none, different for each number."""
    return replace(posting, proof=[number + 1, 2, *posting.proof[2:]])


@pytest.fixture(params=["real", "permissive"])
def program(request: pytest.FixtureRequest) -> Iterator[Program]:
    with anvil() as chain:
        make = real_program if request.param == "real" else permissive_program
        program = make(chain, families=2)
        program.fund(10_000)
        yield program


def post_wrapped(
    program: Program,
    decoys: Callable[[Posting, int], Posting],
    count: int,
    last: Callable = lambda posting: posting,
) -> None:
    """Post bucket 0's next batch through a wallet, with `count` decoys before it in the
    calldata."""
    wallet, _ = Deployer(program.chain.node, KeystoreSigner(program.chain.key(0))).create(
        "Wallet1271", program.chain.key(1).address
    )
    honest = program.plan(0, [(ANN, 5)])
    data = wrapped(program, [decoys(honest, number) for number in range(count)], last(honest))
    assert program.send(data, sender=1, to=wallet)["status"] == 1
    program.book(honest)


def codes(program: Program, node: Node | None = None) -> list[str]:
    """The findings that are of the batch."""
    report: AuditReport = audit(
        node or program.chain.node, program.address, program.deployment.block
    )
    return [finding.code for finding in report.findings if finding.bucket is not None]


def blind(program: Program, asked: list[str] | None = None) -> Node:
    """A node that does not trace."""

    def tamper(method: str, params: list, result: Any) -> Any:
        if asked is not None:
            asked.append(method)
        return None if method == "debug_traceTransaction" else result

    return Web3Node(Web3(LyingProvider(program.chain.url, tamper)))


@pytest.mark.parametrize("program", ["real"], indirect=True)
@pytest.mark.parametrize("decoys", [unsigned, unproven])
def test_a_stranger_s_decoys_change_nothing(program: Program, decoys: Callable) -> None:
    """More decoys than are ever looked at: the trace shows the call that was made. Without one the
    audit says what it could not see, which is no violation, and with few decoys it finds the call
    all the same."""
    limit = posting.CANDIDATES_MAX if decoys is unsigned else posting.PROOFS_MAX
    post_wrapped(program, decoys, limit - 1)
    assert codes(program) == codes(program, blind(program)) == []
    post_wrapped(program, decoys, limit)
    assert codes(program) == []
    asked: list[str] = []
    unchecked = "attestations_unchecked" if decoys is unsigned else "proof_unchecked"
    assert codes(program, blind(program, asked)) == [unchecked]
    assert asked.count("eth_call") < 400


@pytest.mark.parametrize("program", ["permissive"], indirect=True)
def test_what_was_really_called_is_named(program: Program) -> None:
    """A batch without its signatures, posted behind a decoy that is not shown either: traced it is
    a violation, untraced an open question."""
    post_wrapped(program, unsigned, 1, lambda honest: unsigned(honest, 7))
    assert set(codes(program)) == {"attestation_bad", "attestations_too_few"}
    assert codes(program, blind(program)) == ["attestations_unchecked"]


@pytest.mark.parametrize("program", ["permissive"], indirect=True)
def test_an_honest_copy_does_not_hide_a_bad_call(program: Program) -> None:
    """What the trace shows counts, whatever stands beside it."""
    post_wrapped(program, lambda honest, _: honest, 1, lambda honest: unsigned(honest, 7))
    assert set(codes(program)) == {"attestation_bad", "attestations_too_few"}


@pytest.mark.parametrize("program", ["real"], indirect=True)
def test_only_calls_make_the_log(program: Program) -> None:
    """A delegate call at the Distributor succeeds without a signature, over the storage of whoever
    makes it: it is not the batch's."""
    honest = program.plan(0, [(ANN, 5)])
    post_wrapped(program, unsigned, 0)
    delegated = {
        "type": "DELEGATECALL",
        "to": program.address.lower(),
        "input": "0x" + program.calldata(unsigned(honest, 1)).hex(),
    }

    def tamper(method: str, params: list, result: Any) -> Any:
        if method == "debug_traceTransaction":
            result["calls"] = [delegated, *result["calls"]]
        return result

    assert codes(program, Web3Node(Web3(LyingProvider(program.chain.url, tamper)))) == []


@pytest.mark.parametrize("program", ["real"], indirect=True)
def test_whatever_encoding_the_contract_takes_is_read(program: Program) -> None:
    """Offsets that run backwards: whoever posts a batch chooses them, the contract takes them, and
    an ABI library does not."""
    honest = program.plan(0, [(ANN, 5)])
    receipt = program.send(backwards(honest))
    assert receipt["status"] == 1
    assert codes(program) == codes(program, blind(program)) == []


def backwards(posting: Posting) -> bytes:
    """The call with the attestations before their array, and the array's entries pointing back at
    them."""
    words = lambda *values: b"".join((value % 2**256).to_bytes(32, "big") for value in values)  # noqa: E731 - right here
    tail, places = b"", []
    for given in posting.attestations:
        places.append(17 * 32 + len(tail))
        tail += words(int(given.attestor, 16), 64, 65) + given.signature + bytes(31)
    deltas = 17 * 32 + len(tail)
    tail += words(len(posting.deltas)) + posting.deltas + bytes(-len(posting.deltas) % 32)
    array = 17 * 32 + len(tail)
    tail += words(len(places), *(place - (array + 32) for place in places))
    batch = posting.batch
    head = (
        words(batch.bucket, batch.sequence, batch.new_root, batch.items_root)
        + batch.interactions_root
        + batch.ledger_head
    )
    return POST_BATCH + head + words(batch.valid_until, deltas, *posting.proof, array) + tail


@pytest.mark.parametrize("method", ["debug_traceTransaction", "eth_getTransactionByHash"])
@pytest.mark.parametrize("program", ["real"], indirect=True)
def test_a_node_that_will_not_trace_ends_nothing(program: Program, method: str) -> None:
    """Services refuse to trace with an error of HTTP: that is a node that does not trace. Any other
    refusal ends the audit."""
    post_wrapped(program, unsigned, 1)

    class Refusing(Web3.HTTPProvider):
        def make_request(self, asked: Any, params: Any) -> Any:
            if asked == method:
                self.endpoint_uri, kept = self.endpoint_uri + "/nothing/here", self.endpoint_uri
                try:
                    return super().make_request(asked, params)
                finally:
                    self.endpoint_uri = kept
            return super().make_request(asked, params)

    node = Web3Node(Web3(Refusing(program.chain.url)))
    if method == "debug_traceTransaction":
        assert codes(program, node) == []
    else:
        with pytest.raises(Unavailable):
            codes(program, node)


def test_what_cannot_have_passed_costs_no_call() -> None:
    """Attestors that are not ascending, and strangers, are refused before the node is asked; `None`
    for a node would not survive it."""
    allowed = AttestorSet(frozenset([ANN]), 1, 1)
    one = Attestation(ANN, b"x" * 60_000)
    zero = Attestation("0x" + "00" * 20, b"")
    for given in ([one] * 64, [one, zero], [zero, one]):
        assert [code for code, _ in attestation_problems(None, bytes(32), given, allowed, 1)] == [
            "attestation_order"
        ]
    stranger = Attestation(account("stranger").address, b"")
    found = [code for code, _ in attestation_problems(None, bytes(32), [stranger], allowed, 1)]
    assert found == ["attestation_foreign", "attestations_too_few"]


def test_a_node_without_old_state_is_no_witness(honest: Program) -> None:
    """A contract's signature that cannot be asked for is not a bad one: the audit ends and says
    which node it takes."""

    class Pruned(Web3.HTTPProvider):
        def make_request(self, method: Any, params: Any) -> Any:
            if method == "eth_call" and "to" not in params[0]:
                message = "missing trie node 5f1d (path ) state 0x5f1d is not available"
                return {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": message}}
            return super().make_request(method, params)

    with pytest.raises(Unavailable, match="ask a node that holds the state of that block"):
        audit(Web3Node(Web3(Pruned(honest.chain.url))), honest.address)


def signed_by_strangers(posting: Posting) -> Posting:
    keys = [account(f"stranger {i}") for i in range(2)]
    signed = [
        Attestation(key.address, bytes(key.unsafe_sign_hash(posting.digest).signature))
        for key in keys
    ]
    return replace(posting, attestations=signed)


def posted_as_set(program: Program, postings: Sequence[Posting], wallet: bool = False) -> Any:
    """Post several in one transaction, through a wallet or not; its receipt."""
    data = post_batches([one.post for one in postings])
    if not wallet:
        return program.send(data)
    holder = program.chain.key(1).address
    address, _ = Deployer(program.chain.node, KeystoreSigner(program.chain.key(0))).create(
        "Wallet1271", holder
    )
    call = encode(["address", "bytes"], [program.address, data])
    return program.send(EXECUTE + call, sender=1, to=address)


def successive(program: Program) -> list[Posting]:
    """Two batches of a bucket, and one of another."""
    planned = []
    for bucket, account_ in ((0, ANN), (0, ANN), (1, BOB)):
        planned.append(program.plan(bucket, [(account_, 5)]))
        program.book(planned[-1])
    return planned


@pytest.mark.parametrize("program", ["real"], indirect=True)
@pytest.mark.parametrize("wallet", [False, True], ids=["direct", "wallet"])
def test_decoys_among_several_batches_accuse_nobody(program: Program, wallet: bool) -> None:
    """Whoever posts a set can put in copies that are passed over: out of turn with the attestors'
    own signatures and no proof, or with another hash. The log says which was posted."""
    first, second, other = successive(program)
    early = [unproven(second, number) for number in range(posting.PROOFS_MAX)]
    wrong_hash = replace(unproven(other, 3), struct_hash=b"\x01" * 32)
    decoyed = [*early, wrong_hash, first, second, unproven(second, 99), other]
    receipt = posted_as_set(program, decoyed, wallet)
    assert receipt["status"] == 1
    assert codes(program) == []
    # Without a trace a wallet's calldata shows candidates, and no more than so many are proven.
    assert codes(program, blind(program)) == (["proof_unchecked"] if wallet else [])


@pytest.mark.parametrize("program", ["real"], indirect=True)
def test_false_signatures_before_the_true_ones(program: Program) -> None:
    """The contract passes over them, and reads none behind the true ones; so does the audit."""
    first, _, _ = successive(program)
    low, high = first.attestations
    junk = [Attestation(low.attestor, bytes([number]) * 65) for number in range(1, 4)]
    junk += [Attestation(ANN, low.signature), Attestation(high.attestor, b"")]
    data = post_batches([first.post._replace(attestations=())])
    # By hand: the encoder would put them in order.
    rows = [(one.attestor, one.signature) for one in [*junk, low, low, high, *junk]]
    fields = decode([f"{_POST}[]"], data[4:])[0]
    data = data[:4] + encode([f"{_POST}[]"], [[(*fields[0][:4], rows)]])
    assert program.send(data)["status"] == 1
    assert codes(program) == []


@pytest.mark.parametrize("program", ["permissive"], indirect=True)
@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda posting: unsigned(posting, 7), "attestations_too_few"),
        (lambda posting: replace(posting, struct_hash=b"\x01" * 32), "struct_hash_wrong"),
        (lambda posting: unproven(posting, 7), "proof_bad"),
        (
            lambda posting: replace(posting, attestations=[posting.attestations[0]] * 2),
            "attestations_too_few",
        ),
        (lambda posting: signed_by_strangers(posting), "attestations_too_few"),
    ],
    ids=["unsigned", "another hash", "unproven", "one attestor twice", "strangers"],
)
def test_a_false_batch_among_several_is_named(
    program: Program, spoil: Callable[[Posting], Posting], code: str
) -> None:
    """A contract that passes over nothing has posted it: it alone is accused, not its
    neighbours."""
    first, second, other = successive(program)
    assert posted_as_set(program, [first, spoil(second), other])["status"] == 1
    report = audit(program.chain.node, program.address, program.deployment.block)
    found = [one for one in report.findings if one.bucket is not None]
    assert [(one.code, one.bucket, one.sequence) for one in found] == [(code, 0, 2)]

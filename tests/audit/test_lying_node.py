"""One lie at a time about the honest chain: each flips the report, with the finding that names
it."""

import contextlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from eth_abi import encode
from eth_utils import keccak, to_checksum_address
from web3 import Web3

from backend.audit.auditor import audit
from backend.audit.report import AuditReport
from backend.chain import calldata
from backend.chain.artifacts import artifact
from backend.chain.web3_node import Web3Node
from backend.errors import GuerdonError
from tests.audit.conftest import LyingProvider, Tamper
from tests.support.program import Program, account

POSTED = keccak(text="BatchPosted(uint32,uint64,uint256,uint256,bytes32,bytes32,uint256,bytes)")
CLAIMED = keccak(text="Claimed(uint32,uint16,address,address,uint256)")
CHANGED = keccak(text="AttestorsChanged(uint64,address[],uint16)")
TRANSFER = keccak(text="Transfer(address,address,uint256)")


def hexed(data: bytes) -> str:
    return "0x" + data.hex()


def of(log: dict, topic: bytes, *indexed: int) -> bool:
    """Whether a raw log is of this event, with these first indexed values."""
    return log["topics"][0] == hexed(topic) and [
        int(word, 16) for word in log["topics"][1 : 1 + len(indexed)]
    ] == list(indexed)


def change_log(change: Callable[[bytes], bytes], topic: bytes, *indexed: int) -> Tamper:
    def tamper(method: str, params: list, result: Any) -> Any:
        if method == "eth_getLogs":
            for log in result:
                if of(log, topic, *indexed):
                    log["data"] = hexed(change(bytes.fromhex(log["data"][2:])))
        return result

    return tamper


def drop_log(topic: bytes, *indexed: int) -> Tamper:
    return lambda method, params, result: (
        [log for log in result if not of(log, topic, *indexed)]
        if method == "eth_getLogs"
        else result
    )


def word(index: int, change: Callable[[int], int]) -> Callable[[bytes], bytes]:
    """A change of one 32-byte word of a log's data."""

    def changed(data: bytes) -> bytes:
        value = change(int.from_bytes(data[32 * index : 32 * index + 32], "big"))
        return data[: 32 * index] + value.to_bytes(32, "big") + data[32 * index + 32 :]

    return changed


def change_call(change: Callable[[calldata.PostBatchCall], bytes]) -> Tamper:
    """Another calldata behind every batch that was posted directly."""

    def tamper(method: str, params: list, result: Any) -> Any:
        if (
            method == "eth_getTransactionByHash"
            and result
            and result["input"].startswith(hexed(calldata.POST_BATCH))
        ):
            result["input"] = hexed(
                change(calldata.decode_post_batch(bytes.fromhex(result["input"][2:])))
            )
        return result

    return tamper


def posted(call: calldata.PostBatchCall, **changes: Any) -> bytes:
    parts = {
        "batch": call.batch,
        "deltas": call.deltas,
        "proof": call.proof,
        "attestations": call.attestations,
        **changes,
    }
    signatures = [
        (attestation.attestor, attestation.signature) for attestation in parts["attestations"]
    ]
    types = [
        "(uint32,uint64,uint256,uint256,bytes32,bytes32,uint64)",
        "bytes",
        "uint256[8]",
        "(address,bytes)[]",
    ]
    batch = tuple(getattr(call.batch, name) for name in call.batch.__slots__)
    return calldata.POST_BATCH + encode(
        types, [batch, parts["deltas"], list(parts["proof"]), signatures]
    )


def change_code(name: str, *at: int) -> Tamper:
    """Bytes of a contract's code, counted from its start."""
    size = len(artifact(name).deployed_bytecode)

    def tamper(method: str, params: list, result: Any) -> Any:
        if method == "eth_getCode" and len(result) == 2 + 2 * size:
            code = bytearray.fromhex(result[2:])
            for place in at:
                code[place] ^= 1
            return hexed(bytes(code))
        return result

    return tamper


def key_bytes(name: str) -> tuple[int, ...]:
    """The last byte of an immutable of the verifier's key, wherever the code uses it."""
    places = artifact("Groth16Verifier").immutables[name]
    return tuple(start + length - 1 for start, length in places)


def domain_byte() -> int:
    """A place in the Distributor's code that holds an immutable of its EIP-712 domain."""
    compiled = artifact("Distributor")
    own = set(compiled.immutables.values())
    return next(
        places[0][0] for places in compiled.immutable_references.values() if places not in own
    )


def change_view(signature: str, change: Callable[[int], int], index: int = 0) -> Tamper:
    """One word of a view's answer; balanceOf is the token's."""
    selector = hexed(keccak(text=signature)[:4])

    def tamper(method: str, params: list, result: Any) -> Any:
        if (
            method == "eth_call"
            and (params[0].get("data") or params[0].get("input", "")).startswith(selector)
            and len(result) > 2
        ):
            return hexed(word(index, change)(bytes.fromhex(result[2:])))
        return result

    return tamper


def no_calldata(method: str, params: list, result: Any) -> Any:
    """Neither in the transaction nor in a trace of it."""
    if method == "eth_getTransactionByHash" and result:
        result["input"] = "0x"
    return None if method == "debug_traceTransaction" else result


def late_blocks(method: str, params: list, result: Any) -> Any:
    if method == "eth_getBlockByNumber" and result:
        result["timestamp"] = hex(2**41)
    return result


def flip_signature(call: calldata.PostBatchCall) -> bytes:
    first, *rest = call.attestations
    signature = first.signature[:5] + bytes([first.signature[5] ^ 1]) + first.signature[6:]
    return posted(call, attestations=[calldata.Attestation(first.attestor, signature), *rest])


def stranger_signs(call: calldata.PostBatchCall) -> bytes:
    return posted(
        call,
        attestations=[
            calldata.Attestation(account("stranger").address, call.attestations[0].signature)
        ],
    )


def short_signature(call: calldata.PostBatchCall) -> bytes:
    return posted(call, attestations=[calldata.Attestation(call.attestations[0].attestor, b"x")])


LIES = [
    ("a batch is hidden", drop_log(POSTED, 0, 1), "sequence_gap", (0, 2)),
    (
        "another new root",
        change_log(word(0, lambda root: root ^ 1), POSTED, 0, 2),
        "root_mismatch",
        (0, 2),
    ),
    (
        "a new root that is no field element",
        change_log(word(0, lambda root: 2**255), POSTED, 0, 2),
        "not_a_field_element",
        (0, 2),
    ),
    (
        "another items root",
        change_log(word(1, lambda root: root ^ 1), POSTED, 1, 2),
        "calldata_missing",
        (1, 2),
    ),
    (
        "another total",
        change_log(word(4, lambda total: total + 1), POSTED, 1, 1),
        "total_mismatch",
        (1, 1),
    ),
    (
        "deltas cut short",
        change_log(lambda d: d[:192] + (31).to_bytes(32, "big") + d[224:], POSTED, 1, 1),
        "deltas_malformed",
        (1, 1),
    ),
    (
        "another delta",
        change_log(lambda d: d[:224] + d[224:].replace(b"\xf4", b"\xf5", 1), POSTED, 1, 1),
        "root_mismatch",
        (1, 1),
    ),
    (
        "a log that holds nothing",
        change_log(lambda data: b"", POSTED, 1, 2),
        "log_unreadable",
        None,
    ),
    ("a claim is hidden", drop_log(CLAIMED, 0, 1), "claimed_mismatch", (0, None)),
    ("a claim is hidden, in all", drop_log(CLAIMED, 0, 2), "claimed_total_mismatch", None),
    (
        "a claim of more",
        change_log(word(1, lambda amount: amount + 5), CLAIMED, 0, 5),
        "claim_beyond_cumulative",
        (0, 1),
    ),
    (
        "a claim of nothing",
        change_log(word(1, lambda amount: 0), CLAIMED, 0, 5),
        "claim_of_nothing",
        (0, 1),
    ),
    (
        "a claim that another was paid",
        change_log(word(0, lambda recipient: recipient ^ 1), CLAIMED, 0, 5),
        "recipient_foreign",
        (0, None),
    ),
    (
        "a claim to another than was signed",
        change_log(word(0, lambda recipient: recipient ^ 1), CLAIMED, 0, 3),
        "claim_not_paid",
        (0, None),
    ),
    ("funding is hidden", drop_log(TRANSFER), "reserve_exceeded", (0, 1)),
    ("attestors are hidden", drop_log(CHANGED, 1), "attestations_too_few", (0, 1)),
    ("the change of attestors is hidden", drop_log(CHANGED, 2), "attestors_mismatch", None),
    (
        "the change of attestors is hidden, in its batch",
        drop_log(CHANGED, 2),
        "attestation_bad",
        (1, 2),
    ),
    ("an epoch is left out", drop_log(CHANGED, 1), "attestor_epoch", None),
    (
        "a threshold of none",
        change_log(word(1, lambda threshold: 0), CHANGED, 2),
        "attestor_set",
        None,
    ),
    (
        "one more must sign",
        change_log(word(1, lambda threshold: 3), CHANGED, 1),
        "attestations_too_few",
        (0, 2),
    ),
    (
        "another proof",
        change_call(lambda call: posted(call, proof=[1, 2, *call.proof[2:]])),
        "proof_bad",
        (0, 1),
    ),
    (
        "a proof of zeros",
        change_call(lambda call: posted(call, proof=[0] * 8)),
        "proof_bad",
        (0, 2),
    ),
    (
        "a proof of garbage",
        change_call(lambda call: posted(call, proof=[2**256 - 1] * 8)),
        "proof_bad",
        (1, 2),
    ),
    ("a flipped bit in a signature", change_call(flip_signature), "attestation_bad", (0, 2)),
    ("a short signature", change_call(short_signature), "attestation_bad", (0, 1)),
    (
        "too few signatures",
        change_call(lambda call: posted(call, attestations=call.attestations[:1])),
        "attestations_too_few",
        (0, 1),
    ),
    (
        "one signature twice",
        change_call(lambda call: posted(call, attestations=call.attestations[:1] * 2)),
        "attestation_order",
        (0, 1),
    ),
    ("a stranger's signature", change_call(stranger_signs), "attestation_foreign", (0, 2)),
    ("no calldata", no_calldata, "calldata_missing", (0, 1)),
    ("late blocks", late_blocks, "expired", (1, 1)),
    ("another Distributor", change_code("Distributor", 5000), "distributor_code_foreign", None),
    ("another domain", change_code("Distributor", domain_byte()), "distributor_code_foreign", None),
    ("another hasher", change_code("Poseidon2", 4000), "hasher_code_foreign", None),
    ("another verifier", change_code("Groth16Verifier", 5), "verifier_code_foreign", None),
    ("another verifier, so no proof", change_code("Groth16Verifier", 5), "proof_unchecked", (0, 1)),
    (
        "a key with another point",
        change_code("Groth16Verifier", *key_bytes("ic1X")),
        "key_unfit",
        None,
    ),
    ("committed", change_view("committed()", lambda value: value - 1), "committed_mismatch", None),
    (
        "claimed in all",
        change_view("claimedTotal()", lambda value: value + 1),
        "claimed_total_mismatch",
        None,
    ),
    (
        "claimed",
        change_view("claimed(uint32,uint16)", lambda value: value + 1),
        "claimed_mismatch",
        (1, None),
    ),
    (
        "the sequence",
        change_view("buckets(uint32)", lambda value: value + 1),
        "bucket_mismatch",
        (0, None),
    ),
    (
        "the slots in use",
        change_view("buckets(uint32)", lambda value: value + 1, 1),
        "bucket_mismatch",
        (2, None),
    ),
    (
        "a stored root",
        change_view("root(uint32,uint64)", lambda value: value ^ 1),
        "stored_root_mismatch",
        (1, 1),
    ),
    (
        "the epoch",
        change_view("attestorEpoch()", lambda value: value + 1),
        "attestors_mismatch",
        None,
    ),
    ("families", change_view("families()", lambda value: 2), "families_mismatch", None),
    ("slots", change_view("slots()", lambda value: 64), "slots_mismatch", None),
    (
        "tokens are gone",
        change_view("balanceOf(address)", lambda value: 0),
        "committed_beyond_reserve",
        None,
    ),
    (
        "a token is gone",
        change_view("balanceOf(address)", lambda value: max(value - 1, 0)),
        "reserve_short",
        None,
    ),
]


@pytest.mark.parametrize(
    ("lie", "code", "where"), [lie[1:] for lie in LIES], ids=[lie[0] for lie in LIES]
)
def test_each_lie_is_found(
    audit_lying: Callable[[Tamper], AuditReport], lie: Tamper, code: str, where: tuple | None
) -> None:
    """One thing that is not so makes the report not ok, with the finding that names it and its
    batch."""
    report = audit_lying(lie)
    assert not report.ok
    found = [
        (finding.bucket, finding.sequence) for finding in report.findings if finding.code == code
    ]
    assert where in found if where else found


def test_truth_through_the_same_node_holds(audit_lying: Callable[[Tamper], AuditReport]) -> None:
    """The harness itself adds no finding."""
    assert audit_lying(lambda method, params, result: result).ok


def test_garbage_never_crashes(
    honest: Program, audit_lying: Callable[[Tamper], AuditReport]
) -> None:
    """Random bytes in logs, calldata, code and views end in findings or in an error that says what
    cannot be had, never in a crash."""
    for seed in range(15):
        rng = random.Random(seed)

        def tamper(method: str, params: list, result: Any, rng: random.Random = rng) -> Any:
            if method == "eth_getLogs":
                for log in result:
                    log["data"] = noisy(log["data"], rng)
            if method == "eth_getTransactionByHash" and result:
                result["input"] = noisy(result["input"], rng)
            if method == "eth_getCode" or (method == "eth_call" and rng.random() < 0.1):
                return noisy(result, rng)
            return result

        with contextlib.suppress(GuerdonError):
            audit_lying(tamper)


def noisy(data: str, rng: random.Random) -> str:
    """A hex string with, in half the cases, some of its bytes replaced or cut off."""
    raw = bytearray.fromhex(data[2:])
    if raw and rng.random() < 0.5:
        for _ in range(rng.randrange(1, 4)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        if rng.random() < 0.2:
            del raw[rng.randrange(len(raw)) :]
    return hexed(bytes(raw))


def test_a_traced_node_finds_hidden_calldata(
    honest: Program, audit_lying: Callable[[Tamper], AuditReport]
) -> None:
    """A batch whose transaction shows no call, as when a contract builds it, is read from the
    node's trace."""

    def tamper(method: str, params: list, result: Any) -> Any:
        if method == "eth_getTransactionByHash" and result and result["to"]:
            result["input"] = "0x"
        return result

    assert audit_lying(tamper).ok


def test_reorganised_chain_is_said(honest: Program) -> None:
    """A head that changes under the audit ends it."""
    seen = []

    def tamper(method: str, params: list, result: Any) -> Any:
        if method == "eth_getBlockByNumber" and params[0] in (
            "latest",
            hex(honest.chain.w3.eth.block_number),
        ):
            seen.append(result["hash"])
            if len(seen) > 1:
                result["hash"] = hexed(keccak(text="another block"))
        return result

    with pytest.raises(GuerdonError, match="reorganised"):
        audit(Web3Node(Web3(LyingProvider(honest.chain.url, tamper))), honest.address)


@pytest.mark.parametrize("which", ["nobody", "token", "hasher", "text"])
def test_what_is_no_distributor_cannot_be_audited(honest: Program, which: str) -> None:
    """An address without code, another contract, and no address at all are errors, not findings."""
    addresses = {
        "nobody": account("x").address,
        "token": honest.deployment.token,
        "hasher": honest.deployment.hasher,
        "text": "0x12",
    }
    with pytest.raises(GuerdonError):
        audit(honest.chain.node, addresses[which])


def test_first_block_must_not_be_late(honest: Program) -> None:
    """A first block after the deployment would hide batches, so it is refused; an earlier one is
    fine."""
    with pytest.raises(GuerdonError, match="first_block"):
        audit(honest.chain.node, honest.address, honest.deployment.block + 1)
    assert to_checksum_address(honest.address) == honest.address

"""Who made the Distributor: a constructor of somebody else's leaves our code over storage of its
choice."""

from dataclasses import replace
from typing import Any

import pytest
import rlp
from eth_abi import decode, encode
from eth_utils import keccak, to_canonical_address, to_checksum_address
from web3 import Web3

from backend.audit.auditor import audit
from backend.audit.report import AuditReport
from backend.chain.artifacts import artifact
from backend.chain.code import CONFIG
from backend.chain.distributor import Distributor
from backend.chain.web3_node import Web3Node
from prover.eip712 import Domain
from prover.tree import Tree
from tests.audit.conftest import LyingProvider
from tests.support.anvil import Anvil
from tests.support.program import DEV, Program, account, real_program

pytestmark = pytest.mark.usefixtures("remembered_proofs")

ANN, EVE = account("ann").address, account("eve").address
FACTORY = "0x4e59b44847b379578588920cA78FbF26c0B4956C"
"""The CREATE2 factory that every Anvil chain begins with: calldata is a salt and the code to
run."""
CHANGED = keccak(text="AttestorsChanged(uint64,address[],uint16)")
BUCKETS_SLOT = 15
SECRET_BUCKET = 1_000_003


def push(value: int, size: int = 32) -> bytes:
    return bytes([0x5F + size]) + value.to_bytes(size, "big")


def seeding_code(chain: Anvil, twin: Program, address: str, seeds: dict[int, int]) -> bytes:
    """A constructor that makes what an honest one made for `twin`, at `address`, log included, but
    for `seeds` (slot -> value) besides."""
    options = {"tracer": "prestateTracer", "tracerConfig": {"diffMode": True}}
    made = chain.rpc("debug_traceTransaction", creation_of(twin), options)["post"][
        twin.address.lower()
    ]["storage"]
    storage = {**{int(slot, 16): int(value, 16) for slot, value in made.items()}, **seeds}
    runtime = bytes(chain.w3.eth.get_code(twin.address))
    for old, new in (
        (to_canonical_address(twin.address), to_canonical_address(address)),
        (twin.domain.separator, Domain(chain.w3.eth.chain_id, address).separator),
    ):
        assert old in runtime
        runtime = runtime.replace(old, new)
    [log] = chain.w3.eth.get_logs(
        {
            "address": twin.address,
            "fromBlock": twin.deployment.block,
            "topics": ["0x" + CHANGED.hex()],
        }
    )
    data = bytes(log["data"])
    stores = b"".join(push(value) + push(slot) + b"\x55" for slot, value in storage.items())

    def assembled(start: int) -> bytes:
        copy_log = push(len(data), 4) + push(start, 4) + push(0, 1) + b"\x39"
        emit = (
            push(int.from_bytes(log["topics"][1], "big"))
            + push(int.from_bytes(CHANGED, "big"))
            + push(len(data), 4)
        )
        copy_code = push(len(runtime), 4) + push(start + len(data), 4) + push(0, 1) + b"\x39"
        leave = push(len(runtime), 4) + push(0, 1) + b"\xf3"
        return stores + copy_log + emit + push(0, 1) + b"\xa2" + copy_code + leave

    return assembled(len(assembled(0))) + data + runtime


def creation_of(program: Program) -> str:
    number = program.deployment.block
    return "0x" + program.chain.w3.eth.get_block(number)["transactions"][0].hex().removeprefix("0x")


def seeds_for_eve(twin: Program) -> tuple[dict[int, int], Tree]:
    """A bucket that no log speaks of, in which Eve has earned ten thousand."""
    tree = Tree(DEV.levels, [int(EVE, 16), 10_000])
    base = int.from_bytes(
        keccak(encode(["uint32", "uint256"], [SECRET_BUCKET, BUCKETS_SLOT])), "big"
    )
    root = int.from_bytes(keccak(encode(["uint64", "uint256"], [1, base + 1])), "big")
    return {base: 1 | 1 << 64, root: tree.root}, tree


def send(chain: Anvil, data: bytes, to: str | None = None) -> Any:
    call = {
        "from": chain.key(0).address,
        "data": "0x" + data.hex(),
        "gas": 25_000_000,
        **({"to": to} if to else {}),
    }
    return chain.w3.eth.wait_for_transaction_receipt(chain.w3.eth.send_transaction(call))


def codes(report: AuditReport) -> list[str]:
    return [finding.code for finding in report.findings]


def at(twin: Program, address: str, block: int) -> Program:
    """A program like `twin` whose Distributor stands elsewhere."""
    return Program(
        twin.chain,
        replace(twin.deployment, distributor=address, block=block),
        twin.attestor_keys,
        twin.prover,
    )


def without_traces(method: str, params: list, result: Any) -> Any:
    return None if method == "debug_traceTransaction" else result


@pytest.mark.parametrize("how", ["by itself", "by a factory"])
def test_a_constructor_that_seeds_storage_is_found(chain: Anvil, how: str) -> None:
    """Code, immutables, log and views are all in order; only the creation shows that somebody holds
    a claim that nobody attested."""
    twin = real_program(chain)
    seeds, tree = seeds_for_eve(twin)
    if how == "by itself":
        nonce = chain.w3.eth.get_transaction_count(chain.key(0).address)
        address = to_checksum_address(
            keccak(rlp.encode([to_canonical_address(chain.key(0).address), nonce]))[12:]
        )
        receipt = send(chain, seeding_code(chain, twin, address, seeds))
        assert receipt["contractAddress"] == address
    else:
        # CREATE2 would have the address hang on the code and the code on the address; a new
        # factory's CREATE does not.
        maker = bytes.fromhex("600e600a5f39600e5ff3") + bytes.fromhex(
            "365f5f37365f5ff05f5260205ff3"
        )
        factory = send(chain, maker)["contractAddress"]
        address = to_checksum_address(keccak(rlp.encode([to_canonical_address(factory), 1]))[12:])
        receipt = send(chain, seeding_code(chain, twin, address, seeds), factory)
    evil = at(twin, address, receipt["blockNumber"])
    evil.fund(20_000)
    evil.post(0, [(ANN, 9_000)])
    report = audit(chain.node, address)
    assert codes(report) == ["creation_foreign"]
    assert codes(audit(chain.node, address, max(evil.deployment.block - 3, 0))) == [
        "creation_foreign"
    ]
    # It is real: what was seeded is paid.
    assert (
        evil.send(Distributor.claim(SECRET_BUCKET, 0, 1, EVE, 10_000, tree.siblings(0)))["status"]
        == 1
    )
    assert "claim_beyond_cumulative" in codes(audit(chain.node, address))


@pytest.fixture
def made_by_factory(chain: Anvil) -> Program:
    """An honest program that a CREATE2 factory made."""
    twin = real_program(chain)
    init_code = chain.w3.eth.get_transaction(creation_of(twin))["input"]
    receipt = send(chain, keccak(text=str(chain.w3.eth.block_number)) + bytes(init_code), FACTORY)
    [log] = chain.w3.eth.get_logs(
        {"blockHash": receipt["blockHash"], "topics": ["0x" + CHANGED.hex()]}
    )
    return at(twin, log["address"], receipt["blockNumber"])


def test_a_factory_may_make_it(made_by_factory: Program) -> None:
    """A trace shows that the factory ran our constructor."""
    assert codes(audit(made_by_factory.chain.node, made_by_factory.address)) == []


def test_a_factory_s_work_is_not_taken_on_trust(made_by_factory: Program) -> None:
    """A node that does not trace cannot show what ran: the audit does not say ok, and says what to
    do."""
    node = Web3Node(Web3(LyingProvider(made_by_factory.chain.url, without_traces)))
    report = audit(node, made_by_factory.address)
    assert codes(report) == ["creation_unchecked"]
    assert "ask a node that traces" in report.findings[0].message


def change_creation(change: Any) -> Any:
    """Another init code behind the creation."""
    compiled = artifact("Distributor").bytecode

    def tamper(method: str, params: list, result: Any) -> Any:
        if method == "eth_getTransactionByHash" and result and result["to"] is None:
            result["input"] = (
                "0x" + change(compiled, bytes.fromhex(result["input"][2:])[len(compiled) :]).hex()
            )
        return result

    return tamper


def other_attestors(compiled: bytes, arguments: bytes) -> bytes:
    [config] = decode([CONFIG], arguments)
    return compiled + encode([CONFIG], [(*config[:7], [EVE], 1, 0)])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda compiled, arguments: b"\x00" + compiled[1:] + arguments, "other code"),
        (lambda compiled, arguments: compiled, "cannot be read"),
        (lambda compiled, arguments: compiled + arguments + b"\x00", "not plainly encoded"),
        (
            lambda compiled, arguments: compiled + arguments[:63] + b"\x07" + arguments[64:],
            "another token",
        ),
        (other_attestors, "another attestors"),
        (other_attestors, "another threshold"),
    ],
    ids=["code", "no arguments", "more behind them", "token", "attestors", "threshold"],
)
def test_another_creation_is_named(honest: Program, change: Any, said: str) -> None:
    """Any other code or configuration is found, in words."""
    report = audit(
        Web3Node(Web3(LyingProvider(honest.chain.url, change_creation(change)))), honest.address
    )
    assert {finding.code for finding in report.findings} == {"creation_foreign"}
    assert any(said in finding.message for finding in report.findings)


def test_attestors_from_elsewhere_are_no_creation(honest: Program) -> None:
    """A log that begins with another epoch, or in a transaction that created nothing, shows no
    creation of ours."""

    def hide_first(method: str, params: list, result: Any) -> Any:
        if method == "eth_getLogs":
            first = "0x" + (1).to_bytes(32, "big").hex()
            return [log for log in result if log["topics"][:2] != ["0x" + CHANGED.hex(), first]]
        return result

    def made_elsewhere(method: str, params: list, result: Any) -> Any:
        if method == "eth_getTransactionReceipt" and result:
            result["contractAddress"] = None
        if method == "debug_traceTransaction" and result["type"] == "CREATE":
            result["type"] = "CALL"
        return result

    for lie in (hide_first, made_elsewhere):
        report = audit(Web3Node(Web3(LyingProvider(honest.chain.url, lie))), honest.address)
        assert "creation_foreign" in codes(report)

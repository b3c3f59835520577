"""The shared vectors are current, and right by sources that share no code with the prover."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from eth_account.messages import SignableMessage, encode_typed_data
from eth_utils import keccak
from web3 import Web3

from tests.prover import reference
from tests.vectors import generate

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "docs" / "PROTOCOL.md").read_text()


def load(name: str) -> Any:
    return json.loads((generate.FOLDER / name).read_text())


def ints(values: list[str]) -> list[int]:
    return [int(value, 16) for value in values]


def pairs(rows: list[list[str]]) -> list[tuple[int, int]]:
    return [(int(address, 16), int(value)) for address, value in rows]


@pytest.mark.parametrize("name", generate.FILES)
def test_files_are_what_the_generator_writes(name: str) -> None:
    """A change of the prover that moves a vector shows here, and the committed file is the
    generator's, byte for byte."""
    assert (generate.FOLDER / name).read_text() == generate.render(name)


def test_every_file_has_a_generator() -> None:
    """No vectors file is left behind by a renamed or removed generator."""
    assert {path.name for path in generate.FOLDER.glob("*.json")} == set(generate.FILES)


def test_poseidon2_against_the_published_vectors() -> None:
    """The permutations and hashes that the protocol page publishes stand in the file."""
    vectors = load("poseidon2.json")
    permuted = {tuple(ints(row["in"])): ints(row["out"]) for row in vectors["permute"]}
    hashed = {tuple(ints(row["in"])): int(row["out"], 16) for row in vectors["h4"]}
    words = re.search(r"permute\(0,1,2,3\)\s+=((?:\s+0x[0-9a-f]{64}){4})", PROTOCOL)
    assert permuted[0, 1, 2, 3] == ints(words[1].split())
    assert permuted[0, 0, 0, 0][0] == int(
        re.search(r"permute\(0,0,0,0\)\[0\] = (0x\w+)", PROTOCOL)[1], 16
    )
    assert hashed[1, 2, 3, 4] == int(re.search(r"H4\(1,2,3,4\)\s+= (0x\w+)", PROTOCOL)[1], 16)
    assert hashed[(reference.P - 1,) * 4] == int(
        re.search(r"H4\(p-1,p-1,p-1,p-1\) = (0x\w+)", PROTOCOL)[1], 16
    )


def test_poseidon2_against_a_plain_implementation() -> None:
    """Every permutation, hash and zero root is that of the matrices multiplied out."""
    vectors = load("poseidon2.json")
    assert int(vectors["p"], 16) == reference.P
    for row in vectors["permute"]:
        assert reference.permute(ints(row["in"])) == ints(row["out"])
    for row in vectors["h4"]:
        assert reference.h4(ints(row["in"])) == int(row["out"], 16)
    assert [reference.root([], level) for level in range(5)] == ints(vectors["zeroRoots"][:5])


@pytest.mark.parametrize(
    "case",
    load("tree.json"),
    ids=lambda case: f"{case['levels']} levels, {len(case['pairs'])} accounts",
)
def test_trees_against_a_plain_implementation(case: dict[str, Any]) -> None:
    """Roots fold from nothing, and each path walks to the root in the order of PROTOCOL section
    7."""
    accounts = pairs(case["pairs"])
    assert case["slots"] == 4 ** case["levels"] // 2
    assert reference.root(
        [element for pair in accounts for element in pair], case["levels"]
    ) == int(case["root"], 16)
    for path in case["paths"]:
        walked = reference.path_root(
            case["levels"], path["slot"], accounts[path["slot"]], ints(path["siblings"])
        )
        assert walked == int(case["root"], 16)


@pytest.mark.parametrize("case", load("deltas.json")["valid"], ids=lambda case: case["name"])
def test_deltas_against_a_plain_implementation(case: dict[str, Any]) -> None:
    """Bytes are the records end to end, the total and the fingerprints the sums term by term."""
    existing = [(slot, int(delta)) for slot, delta in case["existing"]]
    openings = pairs(case["openings"])
    packed = b"".join(
        slot.to_bytes(2, "big") + delta.to_bytes(12, "big") for slot, delta in existing
    )
    packed += b"".join(
        address.to_bytes(20, "big") + delta.to_bytes(12, "big") for address, delta in openings
    )
    assert bytes.fromhex(case["data"][2:]) == len(existing).to_bytes(2, "big") + packed
    assert case["hash"] == "0x" + keccak(hexstr=case["data"]).hex()
    assert (
        reference.broken_rules(bytes.fromhex(case["data"][2:]), case["opened"], case["slots"])
        == set()
    )
    assert int(case["total"]) == sum(delta for _, delta in existing + openings)
    for row in case["fingerprints"]:
        expected = reference.fingerprint(
            existing, openings, case["opened"], case["slots"], int(row["r"], 16)
        )
        assert expected == int(row["fingerprint"], 16)


@pytest.mark.parametrize("case", load("deltas.json")["malformed"], ids=lambda case: case["name"])
def test_malformed_deltas_break_the_named_rule_and_no_other(case: dict[str, Any]) -> None:
    """One broken rule each, so that any order of checking must name it."""
    assert reference.broken_rules(
        bytes.fromhex(case["data"][2:]), case["opened"], case["slots"]
    ) == {case["rule"]}


def test_malformed_deltas_cover_every_rule() -> None:
    """Each rule of the format has a vector that breaks it."""
    rules = {
        "DeltasLength",
        "SlotsNotAscending",
        "SlotNotOpen",
        "ZeroDelta",
        "ZeroAddress",
        "BucketFull",
    }
    assert {case["rule"] for case in load("deltas.json")["malformed"]} == rules


def typed(domain: dict[str, Any], type_text: str, message: dict[str, Any]) -> SignableMessage:
    """The typed data as eth_account reads it from the type's text."""
    name, _, fields = type_text.removesuffix(")").partition("(")
    types = {
        name: [
            dict(zip(("type", "name"), field.split(" "), strict=True))
            for field in fields.split(",")
        ]
    }
    integers = {field["name"] for field in types[name] if field["type"].startswith("uint")}
    values = {
        key: int(str(value), 0) if key in integers else value for key, value in message.items()
    }
    fixed = {
        "name": "Guerdon Distributor",
        "version": "2",
        "chainId": domain["chainId"],
        "verifyingContract": domain["distributor"],
    }
    return encode_typed_data(fixed, types, values)


def typed_in_protocol(name: str) -> str:
    """The EIP-712 type as the protocol page words it: once, alone on a line."""
    (text,) = re.findall(rf"^ *({name}\(\w+ [^)]*\))$", PROTOCOL, re.MULTILINE)
    return str(text)


@pytest.mark.parametrize(
    "case", load("eip712.json")["cases"], ids=lambda case: f"chain {case['chainId']}"
)
def test_typed_data_against_eth_account(case: dict[str, Any]) -> None:
    """Domain separators, struct hashes and digests are those of eth_account's EIP-712 encoder, for
    types as the protocol page words them."""
    for key, name in (
        ("batch", "Batch"),
        ("report", "Report"),
        ("interaction", "Interaction"),
        ("claimTo", "ClaimTo"),
    ):
        text = typed_in_protocol(name)
        signable = typed(case, text, case[key]["message"])
        assert case["domainSeparator"] == "0x" + signable.header.hex()
        if "structHash" in case[key]:
            assert case[key]["structHash"] == "0x" + signable.body.hex()
        if "digest" in case[key]:
            digest = keccak(b"\x19" + signable.version + signable.header + signable.body)
            assert case[key]["digest"] == "0x" + digest.hex()
        if "r" in case[key]:
            assert int(case[key]["r"], 16) == int.from_bytes(digest, "big") % reference.P


def test_text_and_evidence_hashes_against_web3() -> None:
    """Partners' and evidence hashes are keccak256 of the bytes that the protocol names."""
    vectors = load("eip712.json")
    for row in vectors["types"]:
        assert row["hash"] == Web3.keccak(text=row["type"]).to_0x_hex()
        assert typed_in_protocol(row["type"].partition("(")[0]) == row["type"]
    for row in vectors["partners"]:
        assert row["hash"] == Web3.keccak(text=row["id"]).to_0x_hex()
    evidence = vectors["evidence"]
    assert (
        evidence["hash"] == Web3.keccak(hexstr=evidence["salt"] + evidence["raw"][2:]).to_0x_hex()
    )


NODE = """
const { StandardMerkleTree } = require('@openzeppelin/merkle-tree');
const cases = JSON.parse(require('fs').readFileSync(0, 'utf8'));
process.stdout.write(JSON.stringify(cases.map(({ types, values }) => {
  const tree = StandardMerkleTree.of(values, types);
  const hashes = values.map((v) => tree.leafHash(v));
  return { root: tree.root, hashes, proofs: values.map((v) => tree.getProof(v)) };
})));
"""


@pytest.mark.chain
def test_interactions_trees_against_openzeppelins_package() -> None:
    """Roots, leaf hashes and proofs are those of @openzeppelin/merkle-tree, run by node."""
    cases = load("merkle.json")
    asked = [
        {"types": case["types"], "values": [leaf["value"] for leaf in case["leaves"]]}
        for case in cases
    ]
    run = subprocess.run(
        ["node", "-e", NODE],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    for case, answer in zip(cases, json.loads(run.stdout), strict=True):
        assert answer["root"] == case["root"]
        assert answer["hashes"] == [leaf["hash"] for leaf in case["leaves"]]
        assert answer["proofs"] == [leaf["proof"] for leaf in case["leaves"]]


def test_families_against_web3() -> None:
    """An account's family is uint(keccak256(address)) mod F by Solidity's packed hashing."""
    for case in load("home.json")["families"]:
        for row in case["accounts"]:
            assert (
                row["family"]
                == int.from_bytes(Web3.solidity_keccak(["address"], [row["account"]]), "big")
                % case["families"]
            )


def test_batches_against_a_plain_model() -> None:
    """Each batch of the chain of four: balances by a dictionary, roots from nothing, digest by
    eth_account, fingerprint term by term."""
    vectors = load("batch_dev.json")
    instance, slots = vectors["instance"], vectors["instance"]["slots"]
    domain = {"chainId": vectors["chainId"], "distributor": vectors["distributor"]}
    batch_type = typed_in_protocol("Batch")
    balances: dict[int, int] = {}
    for number, batch in enumerate(vectors["batches"], start=1):
        old, items = list(balances.items()), pairs(batch["items"])
        for address, amount in items:
            balances[address] = balances.get(address, 0) + amount
        assert (batch["sequence"], batch["opened"], pairs(batch["old"])) == (number, len(old), old)
        assert pairs(batch["new"]) == list(balances.items())
        assert [(int(leaf[2], 16), int(leaf[3])) for leaf in batch["leaves"]] == items

        existing = [(s, balances[a] - c) for s, (a, c) in enumerate(old) if balances[a] != c]
        openings = list(balances.items())[len(old) :]
        roots = [
            reference.root([element for pair in vector for element in pair], levels)
            for vector, levels in (
                (old, instance["levels"]),
                (balances.items(), instance["levels"]),
                (items, instance["itemLevels"]),
            )
        ]
        assert [
            int(batch["envelope"][name], 16) for name in ("oldRoot", "newRoot", "itemsRoot")
        ] == roots
        assert batch["envelope"]["deltasHash"] == "0x" + keccak(hexstr=batch["deltas"]).hex()

        signable = typed(domain, batch_type, batch["envelope"])
        digest = keccak(b"\x19" + signable.version + signable.header + signable.body)
        r = int.from_bytes(digest, "big") % reference.P
        assert (batch["digest"], int(batch["r"], 16)) == ("0x" + digest.hex(), r)
        fingerprint = reference.fingerprint(existing, openings, len(old), slots, r)
        assert ints(batch["publicSignals"]) == [*roots, r, fingerprint]
        assert int(batch["fingerprint"], 16) == fingerprint
        assert int(batch["total"]) == sum(amount for _, amount in items)
    assert len(vectors["batches"][2]["items"]) == instance["items"]
    assert len(balances) == slots

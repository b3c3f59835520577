"""prover/eip712.py; the digests themselves are checked against eth_account through the shared
vectors (test_vectors.py)."""

from dataclasses import replace

import pytest
from eth_abi.exceptions import EncodingError

from prover.eip712 import (
    BatchEnvelope,
    Domain,
    TypedInteraction,
    claim_to_digest,
    event_hash,
    evidence_hash,
    partner_hash,
    report_digest,
)
from prover.wire import challenge
from tests.prover.test_vectors import load

CASES = load("eip712.json")["cases"]
ACCOUNT, OTHER = "0x" + "11" * 20, "0x" + "22" * 20
DOMAIN = Domain(31337, "0x" + "33" * 20)
BATCH = BatchEnvelope(1, 2, 3, 4, 5, b"\x06" * 32, b"\x07" * 32, b"\x08" * 32, 9, 10)
INTERACTION = TypedInteraction(
    DOMAIN.program, b"\x01" * 32, b"\x02" * 32, ACCOUNT, 5, 6, b"\x03" * 32
)


def raw(text: str) -> bytes:
    return bytes.fromhex(text[2:])


@pytest.mark.parametrize(
    "change",
    [
        {"bucket": 2**32},
        {"bucket": -1},
        {"sequence": 2**64},
        {"old_root": 2**256},
        {"ledger_head": b"\0" * 33},
        {"deltas_hash": "0x00"},
        {"attestor_epoch": 2**64},
        {"valid_until": 2**64},
    ],
    ids=str,
)
def test_a_batch_outside_its_types_has_no_digest(change) -> None:
    """What Solidity could not hold is refused, never cut to size."""
    with pytest.raises(EncodingError):
        replace(BATCH, **change).digest(DOMAIN)


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 2**96},
        {"amount": -1},
        {"occurred_at": 2**64},
        {"account": "0x11"},
        {"evidence": b"\0" * 33},
    ],
    ids=str,
)
def test_an_interaction_outside_its_types_has_no_hash(change) -> None:
    """A reward of 2^96 or more has no hash."""
    with pytest.raises(EncodingError):
        _ = replace(INTERACTION, **change).hash


def test_every_field_of_a_batch_moves_the_digest_and_the_challenge() -> None:
    """No field is left out of what is signed: r is fixed by all of them and by the domain."""
    changes = [
        {"bucket": 7},
        {"sequence": 7},
        {"old_root": 7},
        {"new_root": 7},
        {"items_root": 7},
        {"interactions_root": b"\x09" * 32},
        {"ledger_head": b"\x09" * 32},
        {"deltas_hash": b"\x09" * 32},
        {"attestor_epoch": 7},
        {"valid_until": 7},
    ]
    digests = [replace(BATCH, **change).digest(DOMAIN) for change in ({}, *changes)]
    digests += [
        BATCH.digest(domain)
        for domain in (replace(DOMAIN, chain_id=1), replace(DOMAIN, distributor=OTHER))
    ]
    assert len(set(digests)) == len({challenge(digest) for digest in digests}) == 13


def test_every_field_of_an_interaction_moves_its_hash() -> None:
    """No field is left out of an interaction's hash."""
    changes = [
        {"program": bytes(32)},
        {"partner": bytes(32)},
        {"event_id": bytes(32)},
        {"account": OTHER},
        {"amount": 1},
        {"occurred_at": 1},
        {"evidence": bytes(32)},
    ]
    assert len({replace(INTERACTION, **change).hash for change in ({}, *changes)}) == 8


def test_addresses_may_be_checksummed_or_not() -> None:
    """The same account hashes alike however it is written."""
    mixed = "0x52908400098527886E0F7030069857D2E4169EE7"
    assert (
        replace(INTERACTION, account=mixed).hash == replace(INTERACTION, account=mixed.lower()).hash
    )
    assert Domain(1, mixed).separator == Domain(1, mixed.lower()).separator
    assert Domain(1, mixed).program == bytes(12) + bytes.fromhex(mixed[2:])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"chain {case['chainId']}")
def test_vectors(case) -> None:
    """The shared messages of all four types."""
    domain = Domain(case["chainId"], case["distributor"])
    batch = case["batch"]["message"]
    envelope = BatchEnvelope(
        batch["bucket"],
        batch["sequence"],
        *(int(batch[name], 16) for name in ("oldRoot", "newRoot", "itemsRoot")),
        *(raw(batch[name]) for name in ("interactionsRoot", "ledgerHead", "deltasHash")),
        batch["attestorEpoch"],
        batch["validUntil"],
    )
    assert domain.separator == raw(case["domainSeparator"])
    assert envelope.struct_hash == raw(case["batch"]["structHash"])
    assert envelope.digest(domain) == raw(case["batch"]["digest"])
    assert challenge(envelope.digest(domain)) == int(case["batch"]["r"], 16)

    report, interaction, permission = (
        case[name]["message"] for name in ("report", "interaction", "claimTo")
    )
    assert report_digest(
        domain,
        raw(report["partner"]),
        raw(report["eventId"]),
        report["account"],
        int(report["amount"]),
        report["occurredAt"],
    ) == raw(case["report"]["digest"])
    assert TypedInteraction(
        *(raw(interaction[name]) for name in ("program", "partner", "eventId")),
        interaction["account"],
        int(interaction["amount"]),
        interaction["occurredAt"],
        raw(interaction["evidence"]),
    ).hash == raw(case["interaction"]["structHash"])
    assert claim_to_digest(
        domain,
        permission["bucket"],
        permission["slot"],
        int(permission["cumulative"]),
        permission["recipient"],
        int(permission["deadline"]),
    ) == raw(case["claimTo"]["digest"])


def test_text_hashes() -> None:
    """Partners and events hash by their text, evidence by salt and raw bytes."""
    vectors = load("eip712.json")
    for row in vectors["partners"]:
        assert partner_hash(row["id"]) == event_hash(row["id"]) == raw(row["hash"])
    evidence = vectors["evidence"]
    assert evidence_hash(raw(evidence["salt"]), raw(evidence["raw"])) == raw(evidence["hash"])

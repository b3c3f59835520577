"""Writes the vectors that Python, the circuit and the Solidity tests share.

Run it with `python -m tests.vectors.generate`.

Everything is drawn from a fixed seed, so a second run writes the same bytes;
tests/prover/test_vectors.py compares the files with a fresh run and with sources that share no code
with the prover. Field elements, hashes and byte strings are 0x-prefixed hex (field elements of 32
bytes), amounts are decimal strings, slots, indices and times are numbers, addresses are
checksummed.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eth_utils import keccak

from prover import eip712, merkle, poseidon2
from prover.circuit import load_instance
from prover.field import P
from prover.state import family
from prover.statement import Pair, plan_batch
from prover.tree import Tree, capacity, zero_root
from prover.wire import challenge
from tests.vectors.daily_limit import daily_limit_vectors
from tests.vectors.deltas import deltas_vectors
from tests.vectors.evidence import evidence_vectors
from tests.vectors.values import address, data, element, random_address, random_pairs, shown

FOLDER = Path(__file__).parent
DEV = load_instance("dev")


def poseidon2_vectors() -> dict[str, Any]:
    """Permutations and H4 of edge cases and random states, and the roots of all-zero trees."""
    rng = random.Random("poseidon2")
    edges = [
        (0, 0, 0, 0),
        (0, 1, 2, 3),
        (1, 2, 3, 4),
        (P - 1,) * 4,
        (1, 0, 0, 0),
        (0, 0, 0, 1),
        (P - 1, 0, P - 1, 0),
    ]
    states = edges + [tuple(rng.randrange(P) for _ in range(4)) for _ in range(16)]
    return {
        "p": element(P),
        "permute": [
            {"in": [*map(element, s)], "out": [*map(element, poseidon2.permute(*s))]}
            for s in states
        ],
        "h4": [{"in": [*map(element, s)], "out": element(poseidon2.h4(*s))} for s in states],
        "zeroRoots": [element(zero_root(level)) for level in range(7)],
    }


def tree_vectors() -> list[dict[str, Any]]:
    """Buckets of both sizes: pairs of slots 0, 1, ..., the root, single paths and shared paths."""
    rng = random.Random("tree")
    cases = []
    for levels, count in ((3, 1), (3, 7), (3, 32), (5, 1), (5, 77), (5, 512)):
        pairs = random_pairs(rng, count)
        tree = Tree(levels, [e for pair in pairs for e in pair])
        slots = sorted({0, count - 1, *(rng.randrange(count) for _ in range(3))})
        groups = [
            sorted(rng.sample(range(count), k))
            for k in sorted({1, min(2, count), min(5, count), min(12, count)})
        ]
        if levels == 3:
            groups.append(list(range(count)))
        cases.append(
            {
                "levels": levels,
                "slots": capacity(levels),
                "pairs": shown(pairs),
                "root": element(tree.root),
                "paths": [
                    {"slot": s, "siblings": [*map(element, tree.siblings(s))]} for s in slots
                ],
                "sharedPaths": [
                    {"slots": g, "siblings": [*map(element, tree.multi_siblings(g))]}
                    for g in groups
                ],
            }
        )
    return cases


def envelope_fields(envelope: eip712.BatchEnvelope) -> dict[str, Any]:
    """The message of the typed data `Batch`, by the names of PROTOCOL section 4."""
    return {
        "bucket": envelope.bucket,
        "sequence": envelope.sequence,
        "oldRoot": element(envelope.old_root),
        "newRoot": element(envelope.new_root),
        "itemsRoot": element(envelope.items_root),
        "interactionsRoot": data(envelope.interactions_root),
        "ledgerHead": data(envelope.ledger_head),
        "deltasHash": data(envelope.deltas_hash),
        "attestorEpoch": envelope.attestor_epoch,
        "validUntil": envelope.valid_until,
    }


def _eip712_case(rng: random.Random, domain: eip712.Domain, top: bool) -> dict[str, Any]:
    """One message of each type; `top` takes each integer at its type's maximum."""

    def uint(bits: int) -> int:
        return 2**bits - 1 if top else rng.randrange(2 ** rng.randrange(1, bits + 1))

    envelope = eip712.BatchEnvelope(
        uint(32),
        uint(64),
        rng.randrange(P),
        rng.randrange(P),
        rng.randrange(P),
        rng.randbytes(32),
        rng.randbytes(32),
        rng.randbytes(32),
        uint(64),
        uint(64),
    )
    account, recipient = address(random_address(rng)), address(random_address(rng))
    report = {
        "partner": eip712.partner_hash("acme"),
        "event_id": eip712.event_hash(f"event-{rng.randrange(10**6)}"),
        "account": account,
    }
    report |= {"amount": uint(96), "occurred_at": uint(64)}
    evidence = eip712.evidence_hash(rng.randbytes(32), b'{"event":"signed body"}')
    interaction = eip712.TypedInteraction(domain.program, **report, evidence=evidence)
    message = {
        "program": data(domain.program),
        "partner": data(interaction.partner),
        "eventId": data(interaction.event_id),
        "account": account,
        "amount": str(interaction.amount),
        "occurredAt": interaction.occurred_at,
    }
    permission = {
        "bucket": uint(32),
        "slot": uint(16),
        "cumulative": uint(128),
        "recipient": recipient,
        "deadline": uint(256),
    }
    return {
        "chainId": domain.chain_id,
        "distributor": domain.distributor,
        "domainSeparator": data(domain.separator),
        "batch": {
            "message": envelope_fields(envelope),
            "structHash": data(envelope.struct_hash),
            "digest": data(envelope.digest(domain)),
            "r": element(challenge(envelope.digest(domain))),
        },
        "report": {"message": message, "digest": data(eip712.report_digest(domain, **report))},
        "interaction": {
            "message": message | {"evidence": data(evidence)},
            "structHash": data(interaction.hash),
        },
        "claimTo": {
            "message": permission
            | {
                "cumulative": str(permission["cumulative"]),
                "deadline": str(permission["deadline"]),
            },
            "digest": data(eip712.claim_to_digest(domain, **permission)),
        },
    }


def eip712_vectors() -> dict[str, Any]:
    """Messages of every type in several domains, with struct hashes and digests."""
    rng = random.Random("eip712")
    domains = [
        eip712.Domain(chain, address(random_address(rng))) for chain in (31337, 1, 10, 2**64)
    ]
    cases = [_eip712_case(rng, domain, top) for domain in domains for top in (False, True)]
    types = [eip712.BATCH_TYPE, eip712.REPORT_TYPE, eip712.INTERACTION_TYPE, eip712.CLAIM_TO_TYPE]
    return {
        "types": [{"type": text, "hash": data(keccak(text=text))} for text in types],
        "partners": [
            {"id": name, "hash": data(eip712.partner_hash(name))}
            for name in ("acme", "Ünïcode & co", "")
        ],
        "evidence": {
            "salt": data(bytes(range(32))),
            "raw": data(b"raw"),
            "hash": data(eip712.evidence_hash(bytes(range(32)), b"raw")),
        },
        "cases": cases,
    }


def random_leaves(rng: random.Random, items: list[Pair]) -> list[merkle.Leaf]:
    return [merkle.Leaf(j, rng.randbytes(32), address(a), v) for j, (a, v) in enumerate(items)]


def leaf_values(leaf: merkle.Leaf) -> list[Any]:
    return [leaf.item_index, data(leaf.interaction_hash), leaf.account, str(leaf.item_amount)]


def merkle_vectors() -> list[dict[str, Any]]:
    """StandardMerkleTrees of 1 .. 32 interactions: leaves in item order, root, and the proof of
    each leaf."""
    rng = random.Random("merkle")
    cases = []
    for count in (1, 2, 3, 5, 8, 13, 32):
        leaves = random_leaves(
            rng, [(random_address(rng), rng.randrange(1, 2**96)) for _ in range(count)]
        )
        tree = merkle.InteractionsTree(leaves)
        cases.append(
            {
                "types": list(merkle.LEAF_TYPES),
                "root": data(tree.root),
                "leaves": [
                    {
                        "value": leaf_values(leaf),
                        "hash": data(leaf.hash),
                        "proof": [*map(data, tree.proof(leaf.item_index))],
                    }
                    for leaf in leaves
                ],
            }
        )
    return cases


def home_vectors() -> dict[str, Any]:
    """The family of accounts for several numbers of families, and the only bucket that may open an
    account while some buckets are full."""
    rng = random.Random("home")
    accounts = [1, 2**160 - 1, *(random_address(rng) for _ in range(12))]
    openings = []
    for families, full in (
        (1, []),
        (1, [0]),
        (1, [0, 1, 2]),
        (1, [0, 2]),
        (3, [0, 1]),
        (3, [0, 1, 2, 4]),
        (16, list(range(0, 40))),
    ):
        for account in accounts[2:6]:
            home = family(account, families)
            while home in full:
                home += families
            openings.append(
                {
                    "families": families,
                    "fullBuckets": full,
                    "account": address(account),
                    "bucket": home,
                }
            )
    families = [
        {
            "families": f,
            "accounts": [{"account": address(a), "family": family(a, f)} for a in accounts],
        }
        for f in (1, 2, 3, 16, 255)
    ]
    return {"families": families, "openings": openings}


def _batch_case(
    rng: random.Random, domain: eip712.Domain, sequence: int, old: list[Pair], items: list[Pair]
) -> dict[str, Any]:
    statement = plan_batch(DEV, old, items)
    encoded = statement.deltas.encode()
    leaves = random_leaves(rng, items)
    envelope = eip712.BatchEnvelope(
        0,
        sequence,
        statement.old_root,
        statement.new_root,
        statement.items_root,
        merkle.InteractionsTree(leaves).root,
        rng.randbytes(32),
        keccak(encoded),
        1,
        2**40,
    )
    r = challenge(envelope.digest(domain))
    return {
        "sequence": sequence,
        "opened": len(old),
        "old": shown(old),
        "items": shown(items),
        "new": shown(list(statement.new)),
        "leaves": [leaf_values(leaf) for leaf in leaves],
        "deltas": data(encoded),
        "total": str(statement.deltas.total),
        "envelope": envelope_fields(envelope),
        "digest": data(envelope.digest(domain)),
        "r": element(r),
        "fingerprint": element(statement.fingerprint(r)),
        "publicSignals": [
            *map(
                element,
                (
                    statement.old_root,
                    statement.new_root,
                    statement.items_root,
                    r,
                    statement.fingerprint(r),
                ),
            )
        ],
    }


def batch_vectors() -> dict[str, Any]:
    """Four batches of one dev bucket: one opening; a few accounts, some twice; all 32 items and
    slots; 32 existing accounts touched."""
    rng = random.Random("batch")
    domain = eip712.Domain(31337, address(random_address(rng)))
    accounts = [random_address(rng) for _ in range(DEV.slots)]

    def amount() -> int:
        return rng.randrange(1, 2 ** rng.choice((20, 60, 91)))

    rounds = [
        [(accounts[0], amount())],
        [(accounts[rng.randrange(1, 16)], amount()) for _ in range(9)]
        + [(accounts[0], amount())] * 2,
        [(a, amount()) for a in rng.sample(accounts, DEV.slots)],
        [(a, amount()) for a in rng.sample(accounts, DEV.slots)],
    ]
    batches, state = [], []
    for sequence, items in enumerate(rounds, start=1):
        batches.append(_batch_case(rng, domain, sequence, state, items))
        state = list(plan_batch(DEV, state, items).new)
    return {
        "instance": {
            "name": DEV.name,
            "levels": DEV.levels,
            "itemLevels": DEV.item_levels,
            "items": DEV.items,
            "slots": DEV.slots,
        },
        "chainId": domain.chain_id,
        "distributor": domain.distributor,
        "bucket": 0,
        "batches": batches,
    }


FILES: dict[str, Callable[[], Any]] = {
    "poseidon2.json": poseidon2_vectors,
    "tree.json": tree_vectors,
    "deltas.json": deltas_vectors,
    "evidence.json": evidence_vectors,
    "eip712.json": eip712_vectors,
    "merkle.json": merkle_vectors,
    "home.json": home_vectors,
    "batch_dev.json": batch_vectors,
    "daily_limit.json": daily_limit_vectors,
}


def render(name: str) -> str:
    """The text of one vectors file."""
    return json.dumps(FILES[name](), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for file_name in FILES:
        (FOLDER / file_name).write_text(render(file_name))

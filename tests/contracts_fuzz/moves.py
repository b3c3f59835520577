"""Random calls of a Distributor: mostly honest, often with one fault, from whoever may or may not
make them."""

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from eth_utils import keccak

from prover.eip712 import Domain, claim_to_digest
from prover.field import P
from prover.tree import Tree
from tests.contracts_fuzz.cast import BUCKETS, Cast, Move
from tests.contracts_fuzz.control import control, fund
from tests.contracts_fuzz.model import Model, fingerprint
from tests.contracts_fuzz.node import CURVE_ORDER, ideal_proof, sign
from tests.contracts_fuzz.powers import (
    COOLDOWN,
    DAY,
    ERC6492_SUFFIX,
    LIFETIME,
    NOBODY,
    POSTS_MAX,
    Refused,
)

UINT96_MAX = 2**96 - 1


# --------------------------------------------------------------------------------------------------
# posting


def _forged_signatures(digest: bytes, signature: bytes, key: int) -> list[bytes]:
    """Signatures that must not count in place of the right one."""
    r, s, v = signature[:32], int.from_bytes(signature[32:64], "big"), signature[64]
    return [
        r + (CURVE_ORDER - s).to_bytes(32, "big") + bytes([55 - v]),  # the same, with high s
        signature[:64] + bytes([v - 27]),
        signature[:64] + bytes([55 - v]),
        signature[:64],
        signature + b"\0",
        b"",
        sign(keccak(digest), key),
        sign(digest, key + 1),
        b"\0" * 65,
        signature + ERC6492_SUFFIX,
    ]


def _damaged(rng: random.Random, data: bytes, opened: int) -> bytes:
    """`deltas` with one rule broken; honest ones where there is nothing to break it on."""
    count = int.from_bytes(data[:2], "big")
    ways: list[Callable[[], bytes]] = [
        lambda: data[:-1],
        lambda: data + b"\1",
        lambda: data[:2],
        lambda: b"",
        lambda: b"\0",
        lambda: (count + 1).to_bytes(2, "big") + data[2:],
        lambda: data + b"\0" * 20 + (7).to_bytes(12, "big"),
        lambda: data + b"\7" * 20 + bytes(12),
        lambda: data + (b"\7" * 31 + b"\1") * 9,
        lambda: (
            (count + 1).to_bytes(2, "big")
            + data[2 : 2 + 14 * count]
            + opened.to_bytes(2, "big")
            + b"\1" * 12
            + data[2 + 14 * count :]
        ),
    ]
    if count:
        first = data[2:16]
        ways += [
            lambda: data[:4] + bytes(12) + data[16:],
            lambda: (count + 1).to_bytes(2, "big") + first + data[2:],
            lambda: data[:2] + b"\xff\xff" + data[4:],
        ]
    if count > 1:
        ways.append(lambda: data[:2] + data[16:30] + first + data[30:])
    return rng.choice(ways)()


def _plan(
    rng: random.Random, model: Model, cast: Cast, index: int, fault: str, time: int
) -> tuple[bytes, list[tuple[int, int]]]:
    """Honest `deltas` for the bucket and the state after them."""
    pairs = list(model.bucket(index).pairs)
    touched = sorted(rng.sample(range(len(pairs)), rng.randint(0, len(pairs))))
    opens = (
        rng.randint(0 if touched else 1, min(3, model.slots - len(pairs)))
        if len(pairs) < model.slots
        else 0
    )
    if not touched and not opens:
        touched = [rng.randrange(len(pairs))]
    room = max(0, model.reserve - model.committed)
    if rng.random() < 0.9:
        room = min(room, model.limit.left(time))
    share = min(UINT96_MAX, max(1, room // (len(touched) + opens)))
    amounts = [
        rng.choice(
            (1, share if rng.random() < 0.1 else share // 50 + 1, rng.randint(1, 1 + share // 100))
        )
        for _ in range(len(touched) + opens)
    ]
    over = sum(amounts) - room
    if fault == "beyond the reserve":
        amounts[-1] += max(0, 1 - over)
    elif rng.random() < 0.05 and over < 0:
        amounts[-1] -= over  # to the last unit
    amounts = [min(amount, UINT96_MAX) for amount in amounts]
    opened = [int(rng.choice(cast.accounts), 16) for _ in range(opens)]
    data = len(touched).to_bytes(2, "big")
    data += b"".join(
        slot.to_bytes(2, "big") + amount.to_bytes(12, "big")
        for slot, amount in zip(touched, amounts, strict=False)
    )
    for account, amount in zip(opened, amounts[len(touched) :], strict=True):
        data += account.to_bytes(20, "big") + amount.to_bytes(12, "big")
    for slot, amount in zip(touched, amounts, strict=False):
        pairs[slot] = (pairs[slot][0], pairs[slot][1] + amount)
    return data, pairs + list(zip(opened, amounts[len(touched) :], strict=True))


BATCH_FAULTS = {
    "replayed": {"sequence": -1},
    "skipped": {"sequence": 1},
    "expired": {},
    "root zero": {},
    "root above p": {},
    "items above p": {},
}
SIGNING_FAULTS = (
    "too few",
    "nobody",
    "unsorted",
    "twice",
    "a foreigner",
    "one of another time",
    "a forged signature",
    "another bucket",
    "another epoch",
    "another chain",
    "another contract",
    "another old root",
    "other deltas",
)
OTHER_FAULTS = (
    "bad deltas",
    "no proof",
    "proof of another root",
    "proof at another challenge",
    "beyond the reserve",
)


def post(rng: random.Random, model: Model, cast: Cast, time: int) -> Move:
    """A `postBatch`: three in five are honest."""
    fault = (
        rng.choice((*BATCH_FAULTS, *SIGNING_FAULTS, *OTHER_FAULTS)) if rng.random() < 0.4 else ""
    )
    if model.reserve - model.committed < 1_000 and not fault:
        return fund(rng, model, cast, time)
    index = rng.randrange(BUCKETS)
    bucket = model.bucket(index)
    deltas, pairs = _plan(rng, model, cast, index, fault, time)
    new_root = Tree(model.levels, [element for pair in pairs for element in pair]).root
    items_root, valid_until = rng.randrange(P), time + rng.choice((0, 1, DAY))
    sequence = max(0, bucket.sequence + 1 + BATCH_FAULTS.get(fault, {}).get("sequence", 0))
    shown_root, shown_items = new_root, items_root
    if fault == "expired":
        valid_until = time - rng.choice((1, DAY))
    elif fault == "root zero":
        shown_root = 0
    elif fault == "root above p":
        shown_root = new_root + P
    elif fault == "items above p":
        shown_items = items_root + P
    if fault == "bad deltas":
        deltas = _damaged(rng, deltas, len(bucket.pairs))
    batch = (
        index,
        sequence,
        shown_root,
        shown_items,
        rng.randbytes(32),
        rng.randbytes(32),
        valid_until,
    )
    attestations = _attest(rng, model, cast, batch, deltas, fault)
    return Move(
        rng.choice(cast.everybody),
        "postBatch",
        (batch, deltas, _prove(model, batch, deltas, fault), attestations),
        fault,
    )


def post_many(rng: random.Random, model: Model, cast: Cast, time: int) -> Move:
    """A `postBatches` of some batches that follow one another, each perhaps with a fault, now and
    then in another order, twice, or with another hash."""
    if rng.random() < 0.03:
        return Move(rng.choice(cast.everybody), "postBatches", ([],), "no batches")
    scratch = copy.deepcopy(model)
    posts: list[tuple] = []
    for _ in range(rng.randint(1, 5)):
        move = post(rng, scratch, cast, time)
        if move.function != "postBatch":
            continue
        batch, deltas, proof, attestations = move.args
        struct_hash = scratch.envelope(batch, deltas).struct_hash
        if rng.random() < 0.05:
            struct_hash = keccak(struct_hash)
        posts.append((batch, struct_hash, deltas, proof, attestations))
        try:
            scratch.postBatches(NOBODY, time, posts[-1:])
        except Refused:
            if rng.random() < 0.7:  # a set with it would be refused as a whole
                posts.pop()
    if not posts:
        return fund(rng, model, cast, time)
    if rng.random() < 0.1:
        rng.shuffle(posts)
    if rng.random() < 0.1:
        posts.append(rng.choice(posts))
    if rng.random() < 0.02:
        posts = (posts * POSTS_MAX)[: POSTS_MAX + 1]
    return Move(rng.choice(cast.everybody), "postBatches", (posts,))


def _prove(model: Model, batch: tuple, deltas: bytes, fault: str) -> list[int]:
    if fault in ("no proof", "bad deltas"):
        return [0] * 8
    index, _, new_root, items_root, *_ = batch
    bucket = model.bucket(index)
    count, opened = int.from_bytes(deltas[:2], "big"), len(bucket.pairs)
    records, rest = deltas[2 : 2 + 14 * count], deltas[2 + 14 * count :]
    existing = [
        (int.from_bytes(records[i : i + 2], "big"), int.from_bytes(records[i + 2 : i + 14], "big"))
        for i in range(0, 14 * count, 14)
    ]
    openings = [
        (int.from_bytes(rest[i : i + 20], "big"), int.from_bytes(rest[i + 20 : i + 32], "big"))
        for i in range(0, len(rest), 32)
    ]
    r = int.from_bytes(model.digest(batch, deltas), "big") % P
    if fault == "proof at another challenge":
        r += 1
    if fault == "proof of another root":
        new_root ^= 1
    return ideal_proof(
        [
            bucket.trees[-1].root,
            new_root,
            items_root,
            r,
            fingerprint(existing, openings, opened, model.slots, r),
        ]
    )


def _attest(
    rng: random.Random, model: Model, cast: Cast, batch: tuple, deltas: bytes, fault: str
) -> list[tuple[str, bytes]]:
    changes: dict[str, Any] = {
        "another bucket": {"bucket": batch[0] + 1},
        "another epoch": {"attestor_epoch": model.epoch + rng.choice((-1, 1))},
        "another chain": {"domain": Domain(1, model.address)},
        "another contract": {"domain": Domain(model.domain.chain_id, cast.wallet)},
        "another old root": {"old_root": 0},
        "other deltas": {"deltas_hash": keccak(deltas + b"\0")},
    }.get(fault, {})
    digest = model.digest(batch, deltas, **changes)
    signers = sorted(
        rng.sample(model.attestors, rng.randint(model.threshold, len(model.attestors)))
    )
    outside = [attestor for attestor in cast.attestors if attestor not in model.attestors]
    if fault == "too few":
        signers = signers[: model.threshold - 1]
    elif fault == "nobody":
        signers = []
    elif fault == "unsorted":
        signers.reverse()
    elif fault == "twice":
        signers.insert(0, signers[0])
    elif fault == "a foreigner":
        signers = sorted([*signers, rng.choice(cast.accounts[:-1])])
    elif fault == "one of another time" and outside:
        signers = sorted([*signers[1:], rng.choice(outside)])
    signed = [(signer, sign(digest, cast.keys[signer])) for signer in signers]
    if fault == "a forged signature":
        place = rng.randrange(len(signed))
        signer, signature = signed[place]
        signed[place] = (
            signer,
            rng.choice(_forged_signatures(digest, signature, cast.keys[signer])),
        )
    return signed


# --------------------------------------------------------------------------------------------------
# claims


@dataclass(frozen=True)
class Path:
    """What an honest claim needs, for one slot or several."""

    index: int
    sequence: int
    payouts: list[tuple[int, str, int]]
    siblings: list[int]


def _path(rng: random.Random, model: Model, several: bool) -> Path:
    """Slots of a state that is posted, and now and then of one that is not."""
    index = rng.choice([index for index in range(BUCKETS) if model.bucket(index).sequence] or [0])
    bucket = model.bucket(index)
    oldest = min(1, bucket.sequence)
    sequence = rng.choice((bucket.sequence, rng.randint(oldest, bucket.sequence), oldest))
    if rng.random() < 0.06:
        sequence = rng.choice((0, bucket.sequence + 1, bucket.sequence + rng.randint(2, 2**40)))
    tree = bucket.trees[min(sequence, bucket.sequence)]
    used = sum(tree.pair(slot) != (0, 0) for slot in range(model.slots))
    choice = range(model.slots) if rng.random() < 0.05 or not used else range(used)
    slots = sorted(rng.sample(choice, rng.randint(1, len(choice)) if several else 1))
    payouts = [(slot, f"{tree.pair(slot)[0]:#042x}", tree.pair(slot)[1]) for slot in slots]
    return Path(index, sequence, payouts, tree.multi_siblings(slots))


def _bent(rng: random.Random, model: Model, cast: Cast, path: Path) -> tuple[Path, str]:
    """The path with one lie in it."""
    place = rng.randrange(len(path.payouts))
    slot, account, cumulative = path.payouts[place]
    ways: dict[str, Callable[[], Any]] = {
        "more": lambda: (slot, account, cumulative + rng.choice((1, 10**18))),
        "less": lambda: (slot, account, max(0, cumulative - 1)),
        "all there is": lambda: (slot, account, 2**128 - 1),
        "another account": lambda: (
            slot,
            rng.choice([a for a in cast.everybody if a != account]),
            cumulative,
        ),
        "nobody": lambda: (slot, NOBODY, cumulative),
        "another slot": lambda: ((slot + 1) % model.slots, account, cumulative),
        "a slot beyond": lambda: (
            model.slots + rng.choice((0, slot, 2**16 - 1 - model.slots)),
            account,
            cumulative,
        ),
        "a sibling less": lambda: path.siblings[:-1],
        "a sibling more": lambda: [*path.siblings, 0],
        "a sibling above p": lambda: [*path.siblings[:-1], path.siblings[-1] + P],
        "another sibling": lambda: [*path.siblings[:-1], path.siblings[-1] ^ 1],
    }
    fault = rng.choice(
        [
            name
            for name in ways
            if path.siblings or "sibling" not in name or name == "a sibling more"
        ]
    )
    changed = ways[fault]()
    if "sibling" in fault:
        return replace(path, siblings=changed), fault
    return replace(
        path, payouts=[*path.payouts[:place], changed, *path.payouts[place + 1 :]]
    ), fault


def claim(rng: random.Random, model: Model, cast: Cast, time: int) -> Move:
    """A `claim` by anyone: seven in ten are honest."""
    path, fault = _path(rng, model, several=False), ""
    if rng.random() < 0.3:
        path, fault = _bent(rng, model, cast, path)
    ((slot, account, cumulative),) = path.payouts
    return Move(
        rng.choice(cast.everybody),
        "claim",
        (path.index, slot, path.sequence, account, cumulative, path.siblings),
        fault,
    )


def claim_many(rng: random.Random, model: Model, cast: Cast, time: int) -> Move:
    """A `claimMany` of some slots."""
    path, fault = _path(rng, model, several=True), ""
    if rng.random() < 0.3:
        path, fault = _bent(rng, model, cast, path)
    elif rng.random() < 0.05:
        path, fault = rng.choice(
            [
                (replace(path, payouts=[]), "no payouts"),
                (replace(path, payouts=path.payouts[::-1]), "falling"),
            ]
        )
    return Move(
        rng.choice(cast.everybody),
        "claimMany",
        (path.index, path.sequence, path.payouts, path.siblings),
        fault,
    )


def claim_to(rng: random.Random, model: Model, cast: Cast, time: int) -> Move:
    """A `claimTo` by the account or with its permission, good or bad, to anyone, the Distributor
    included."""
    path, fault = _path(rng, model, several=False), ""
    if rng.random() < 0.15:
        path, fault = _bent(rng, model, cast, path)
    ((slot, account, cumulative),) = path.payouts
    recipient = rng.choice([*cast.everybody, model.address]) if rng.random() < 0.95 else NOBODY
    deadline = (
        time + rng.choice((0, 5, DAY)) if rng.random() < 0.85 else time - rng.choice((1, DAY))
    )
    if rng.random() < 0.3:
        return Move(
            account,
            "claimTo",
            (
                path.index,
                slot,
                path.sequence,
                account,
                cumulative,
                path.siblings,
                recipient,
                deadline,
                b"",
            ),
            fault,
        )
    signer = cast.keys.get(account, 7)
    digest = claim_to_digest(model.domain, path.index, slot, cumulative, recipient, deadline)
    permission = sign(digest, signer)
    if rng.random() < 0.25:
        fault += " with a bad permission"
        other = claim_to_digest(model.domain, path.index, slot, cumulative ^ 1, recipient, deadline)
        permission = rng.choice(
            [*_forged_signatures(digest, permission, signer), sign(other, signer)]
        )
    arguments = (
        path.index,
        slot,
        path.sequence,
        account,
        cumulative,
        path.siblings,
        recipient,
        deadline,
        permission,
    )
    return Move(rng.choice(cast.everybody), "claimTo", arguments, fault)


MOVES = [post, post_many, claim, claim_many, claim_to, fund, control]
WEIGHTS = [22, 14, 10, 8, 14, 5, 30]


def later(rng: random.Random, model: Model, time: int) -> int:
    """The time of the next block: soon, days on, or just before, at or after a moment at which
    something changes."""
    if rng.random() < 0.7:
        return time + rng.randint(1, 60)
    moments = [
        until + extra for until in model.paused_until.values() if until for extra in (0, COOLDOWN)
    ]
    for announced in (model.pending_attestors, model.pending_withdrawal):
        if announced:
            moments += [announced[2], announced[2], announced[2] + LIFETIME]
    if model.limit.pending:
        moments += [model.limit.pending[1]] * 2
    if model.limit.lowered_at:
        moments.append(model.limit.lowered_at + COOLDOWN)
    ahead = [moment for moment in moments if moment > time + 1]
    return (
        rng.choice(ahead) + rng.choice((-1, 0, 1))
        if ahead and rng.random() < 0.5
        else time + rng.randint(1, DAY)
    )

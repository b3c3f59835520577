"""postBatch, with the real verifier, real proofs and honest signatures: what is refused, each by
its own error, then what lands."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ape import networks
from eth_account import Account
from eth_utils import keccak

from prover.eip712 import Domain
from prover.field import P, Q
from prover.statement import BatchStatement
from tests.contracts.conftest import ACCOUNTS, FUNDING
from tests.contracts.program import ATTESTORS, VALID_UNTIL, Posting, Program, key, sign
from tests.contracts.refusal import refused

SECP256K1_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
MALFORMED = json.loads((Path(__file__).parents[1] / "vectors" / "deltas.json").read_text())[
    "malformed"
]
ITEMS = [(ACCOUNTS[0], 70), (ACCOUNTS[3], 30), (ACCOUNTS[0], 5)]


@pytest.fixture
def honest(program: Program) -> Posting:
    """The next batch of bucket 0, which would land as it is."""
    return program.posting(program.plan(ITEMS))


def _refused(name: str, program: Program, posting: Posting) -> tuple[Any, ...]:
    return refused(name, program.distributor.postBatch, *posting.args)


# What the header says.


@pytest.mark.parametrize(
    "sequence", [0, 1, 2, 4, 2**64 - 1], ids=["zero", "older", "replayed", "skipped", "last"]
)
def test_a_sequence_that_is_not_the_next_is_refused(program: Program, sequence: int) -> None:
    """A batch signed and proven for another sequence than stored + 1 does not land."""
    posting = program.posting(program.plan(ITEMS), prove=False, sequence=sequence)
    assert _refused("WrongSequence", program, posting) == (sequence, 3)


def test_a_batch_lands_once(program: Program, honest: Posting) -> None:
    """The very call that has landed is refused the second time."""
    program.land(honest)
    assert _refused("WrongSequence", program, honest) == (3, 4)


def test_an_expired_batch_is_refused(program: Program, chain: Any) -> None:
    """A batch that is signed and next in line does not land after validUntil."""
    until = chain.pending_timestamp + 1_000
    posting = program.posting(program.plan(ITEMS), valid_until=until)
    chain.mine(timestamp=until + 1)
    assert _refused("BatchExpired", program, posting) == (until,)


def test_roots_that_are_not_field_elements_are_refused(program: Program) -> None:
    """newRoot and itemsRoot congruent to the true ones, but not below p, do not land though signed;
    nor does the root 0."""
    statement = program.plan(ITEMS)
    assert _refused("ZeroRoot", program, program.posting(statement, prove=False, new_root=0)) == ()
    for name in ("new_root", "items_root"):
        value = getattr(statement, name) + P
        assert _refused(
            "NotAFieldElement", program, program.posting(statement, prove=False, **{name: value})
        ) == (value,)


# What the attestors sign.


@pytest.mark.parametrize(
    "change",
    [
        {"bucket": 1, "sequence": 1},
        {"new_root": 5},
        {"items_root": 5},
        {"interactions_root": keccak(text="other")},
        {"ledger_head": keccak(text="other")},
        {"valid_until": VALID_UNTIL + 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_is_signed(program: Program, honest: Posting, change: dict[str, Any]) -> None:
    """A batch that was signed with another bucket, root, interactions, ledger head or deadline does
    not land."""
    assert _refused("InvalidAttestation", program, honest.with_batch(**change)) == (
        ATTESTORS[0].address.lower(),
    )


def test_deltas_are_signed(program: Program, honest: Posting) -> None:
    """Well-formed deltas other than those signed do not land, not even in the order of their
    records."""
    changed = honest.deltas[:-1] + bytes([honest.deltas[-1] ^ 1])
    assert _refused("InvalidAttestation", program, replace(honest, deltas=changed))


@pytest.mark.parametrize(
    "domain",
    [
        lambda d: Domain(d.chain_id + 1, d.distributor),
        lambda d: Domain(1, d.distributor),
        lambda d: Domain(d.chain_id, key(9).address),
    ],
    ids=["next chain", "mainnet", "another contract"],
)
def test_another_chain_or_contract_is_refused(program: Program, domain: Any) -> None:
    """Signatures for another chain or another Distributor do not count here."""
    posting = program.posting(program.plan(ITEMS), prove=False, domain=domain(program.domain))
    assert _refused("InvalidAttestation", program, posting)


def test_another_old_root_is_refused(program: Program) -> None:
    """Signatures over another history than the stored one do not count."""
    assert _refused(
        "InvalidAttestation",
        program,
        program.posting(program.plan(ITEMS), prove=False, old_root=program.bucket().root + 1),
    )


@pytest.mark.parametrize("epoch", [0, 2])
def test_another_attestor_epoch_is_refused(program: Program, epoch: int) -> None:
    """Signatures for another attestor epoch than the current one do not count."""
    assert _refused(
        "InvalidAttestation",
        program,
        program.posting(program.plan(ITEMS), prove=False, attestor_epoch=epoch),
    )


def test_signatures_of_an_older_epoch_are_refused(
    program: Program, honest: Posting, owner: Any, chain: Any
) -> None:
    """After a change of attestors, even to the same ones, what was signed before does not land;
    signed anew it does."""
    distributor = program.distributor
    distributor.announceAttestors([attestor.address for attestor in ATTESTORS], 2, sender=owner)
    chain.mine(deltatime=distributor.DELAY() + 1)
    distributor.executeAttestors(sender=owner)
    assert _refused("InvalidAttestation", program, honest)
    program.epoch = 2
    program.post(ITEMS)


def test_too_few_attestors_are_refused(program: Program) -> None:
    """Fewer than m signatures do not land, none at all included."""
    for count in (0, 1):
        posting = program.posting(program.plan(ITEMS), prove=False, signers=ATTESTORS[:count])
        assert _refused("TooFewAttestations", program, posting) == (count, 2)


def test_a_foreign_signer_is_refused(program: Program) -> None:
    """A signer outside the set does not count, nor does it pass beside enough attestors."""
    foreign = key(77)
    for others in (ATTESTORS[:1], ATTESTORS):
        signers = sorted([*others, foreign], key=lambda signer: int(signer.address, 16))
        posting = program.posting(program.plan(ITEMS), prove=False, signers=signers)
        assert _refused("UnknownAttestor", program, posting) == (foreign.address.lower(),)


def test_a_repeated_attestor_is_refused(program: Program) -> None:
    """One attestor signing twice is not two."""
    posting = program.posting(
        program.plan(ITEMS), prove=False, signers=[ATTESTORS[0], ATTESTORS[0]]
    )
    assert _refused("AttestorsNotAscending", program, posting) == (ATTESTORS[0].address.lower(),)


def test_unsorted_attestors_are_refused(program: Program) -> None:
    """Attestations come by ascending attestor."""
    posting = program.posting(
        program.plan(ITEMS), prove=False, signers=[ATTESTORS[1], ATTESTORS[0]]
    )
    assert _refused("AttestorsNotAscending", program, posting) == (ATTESTORS[0].address.lower(),)


def test_another_attestors_signature_is_refused(program: Program, honest: Posting) -> None:
    """A valid signature under another attestor's name does not count."""
    (first, a), (second, b) = honest.attestations
    assert _refused(
        "InvalidAttestation", program, replace(honest, attestations=[(first, b), (second, a)])
    ) == (first.lower(),)


def test_malleable_and_misshapen_signatures_are_refused(program: Program, honest: Posting) -> None:
    """High s (with v flipped to match), v of 0, 1, 26 or 29, compact, empty and padded signatures
    do not count."""
    attestor, good = honest.attestations[0]
    r, s, v = good[:32], int.from_bytes(good[32:64], "big"), good[64]
    high_s = r + (SECP256K1_N - s).to_bytes(32, "big") + bytes([55 - v])
    assert Account._recover_hash(honest.digest, signature=high_s) == attestor
    compact = r + (s | (v - 27) << 255).to_bytes(32, "big")
    bent = [
        high_s,
        *(good[:64] + bytes([x]) for x in (v - 27, 26, 29, 55 - v)),
        compact,
        b"",
        good + b"\0",
        good[:64],
    ]
    for signature in bent:
        posting = replace(honest, attestations=[(attestor, signature), honest.attestations[1]])
        assert _refused("InvalidAttestation", program, posting) == (attestor.lower(),)


# What `deltas` say.


@pytest.mark.parametrize(
    "case", [c for c in MALFORMED if c["opened"] in (0, 3)], ids=lambda case: case["name"]
)
def test_malformed_deltas_are_refused_though_signed(program: Program, case: dict[str, Any]) -> None:
    """Malformed deltas are refused by their rule even where attestors sign them; bucket 0 has 3
    accounts, bucket 1 none."""
    bucket = 0 if case["opened"] == 3 else 1
    statement = program.plan(ITEMS, bucket)
    posting = program.posting(
        statement, prove=False, bucket=bucket, deltas=bytes.fromhex(case["data"][2:])
    )
    _refused(case["rule"], program, posting)


def test_a_full_bucket_opens_no_account(program: Program) -> None:
    """The 33rd account of a bucket of 32 is refused, signed or not; the 32 land."""
    program.post([(account, 1) for account in ACCOUNTS[:32]], bucket=5)
    statement = program.plan([(ACCOUNTS[0], 1)], bucket=5)
    one_more = (
        statement.deltas.encode() + ACCOUNTS[33].to_bytes(20, "big") + (1).to_bytes(12, "big")
    )
    assert (
        _refused(
            "BucketFull",
            program,
            program.posting(statement, prove=False, bucket=5, deltas=one_more),
        )
        == ()
    )


# What the proof says. Attestors sign each of these as it is claimed; the proof is a real one, of
# the honest batch at the same challenge.


def _claims(
    program: Program, change: Any, items: Any = ITEMS
) -> tuple[BatchStatement, BatchStatement]:
    """(claimed, honest): the honest statement with its new state changed by `change(pairs)`."""
    honest = program.plan(items)
    pairs = list(honest.new)
    change(pairs)
    return replace(honest, new=tuple(pairs)), honest


def _set(slot: int, address: int | None = None, plus: int = 0) -> Any:
    def change(pairs: list[tuple[int, int]]) -> None:
        old_address, cumulative = pairs[slot]
        pairs[slot] = (old_address if address is None else address, cumulative + plus)

    return change


def _move(source: int, target: int, amount: int) -> Any:
    def change(pairs: list[tuple[int, int]]) -> None:
        _set(source, plus=-amount)(pairs)
        _set(target, plus=amount)(pairs)

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set(0, plus=1),
        _set(0, plus=-1),
        _set(1, plus=1),
        _set(3, address=ACCOUNTS[9]),
        _move(0, 3, 10),
        _move(0, 1, 75),
        _set(0, plus=-75),
        _set(0, plus=70),
    ],
    ids=[
        "more",
        "less",
        "an account of no item",
        "wrong address",
        "moved",
        "moved away",
        "item left out",
        "item twice",
    ],
)
def test_a_state_that_the_items_do_not_give_is_refused(program: Program, change: Any) -> None:
    """A new root and deltas that agree with each other, but not with the items, have no proof."""
    claimed, honest = _claims(program, change)
    assert claimed.deltas.encode() != honest.deltas.encode()
    assert _refused("InvalidProof", program, program.posting(claimed, proven=honest)) == ()


def test_an_address_of_an_open_slot_cannot_change(program: Program) -> None:
    """A new root in which an open slot belongs to another address has no proof, though deltas and
    items agree."""
    claimed, honest = _claims(program, _set(1, address=ACCOUNTS[9]))
    posting = program.posting(claimed, proven=honest, deltas=honest.deltas.encode())
    assert _refused("InvalidProof", program, posting) == ()


def test_items_other_than_attested_are_refused(program: Program) -> None:
    """A batch whose items root is of other items than the state booked has no proof."""
    honest = program.plan(ITEMS)
    other = program.plan([*ITEMS, (ACCOUNTS[1], 9)])
    assert (
        _refused("InvalidProof", program, program.posting(honest, items_root=other.items_root))
        == ()
    )


def test_deltas_that_the_roots_do_not_give_are_refused(program: Program) -> None:
    """Well-formed, signed deltas that are not the difference of the two roots fail in the
    fingerprint."""
    honest = program.plan(ITEMS)
    existing, opened = honest.deltas.existing, honest.deltas.opened
    bent = [
        replace(honest.deltas, existing=((0, existing[0][1] + 1),)),
        replace(honest.deltas, existing=((1, existing[0][1]),)),
        replace(honest.deltas, existing=((0, existing[0][1]), (2, 1))),
        replace(honest.deltas, opened=((ACCOUNTS[9], opened[0][1]),)),
        replace(honest.deltas, opened=(*opened, (ACCOUNTS[9], 1))),
    ]
    for deltas in bent:
        assert (
            _refused("InvalidProof", program, program.posting(honest, deltas=deltas.encode())) == ()
        )


def test_a_proof_holds_at_its_challenge_only(program: Program) -> None:
    """A real proof of the very same batch at another challenge (another ledger head) is refused."""
    statement = program.plan(ITEMS)
    one, other = (
        program.posting(statement),
        program.posting(statement, ledger_head=keccak(text="other")),
    )
    assert _refused("InvalidProof", program, replace(one, proof=other.proof)) == ()
    assert _refused("InvalidProof", program, replace(one, proof=[0] * 8)) == ()
    assert (
        _refused("InvalidProof", program, replace(one, proof=[one.proof[0] + Q, *one.proof[1:]]))
        == ()
    )


# What the reserve says.


def test_a_sum_beyond_the_reserve_is_refused(program: Program) -> None:
    """Attested and proven entitlements land up to the last token held, and not one unit further."""
    free = FUNDING - program.distributor.committed()
    halves = [(ACCOUNTS[0], free - free // 2), (ACCOUNTS[3], free // 2)]
    beyond = program.posting(program.plan([*halves, (ACCOUNTS[1], 1)]))
    assert _refused("ReserveExceeded", program, beyond) == (FUNDING + 1, FUNDING)
    program.post(halves)
    assert program.distributor.committed() == FUNDING


def test_what_was_paid_stays_committed(program: Program) -> None:
    """Claims do not make room: reserve is what is held plus what was paid."""
    distributor = program.distributor
    distributor.claim(*program.claim_args(2), sender=program.sender)
    free = FUNDING - distributor.committed()
    beyond = program.posting(program.plan([(ACCOUNTS[0], free + 1)]))
    assert _refused("ReserveExceeded", program, beyond) == (FUNDING + 1, FUNDING)
    program.post([(ACCOUNTS[0], free)])


def test_entitlements_stay_below_2_to_the_127(program: Program, token: Any, deployer: Any) -> None:
    """A token with an absurd supply cannot make amounts overflow: 2^127 in all is refused."""
    token.mint(program.distributor, 2**128, sender=deployer)
    # 2^31 batches of 2^96 would be needed: the counter is put near the limit instead.
    _store_committed(program, 2**127 - 100)
    beyond = program.posting(program.plan([(ACCOUNTS[0], 100)]))
    assert _refused("CommittedTooLarge", program, beyond) == (2**127,)
    program.post([(ACCOUNTS[0], 99)])


def _store_committed(program: Program, value: int) -> None:
    artifact = json.loads(
        (Path(__file__).parents[2] / "build" / "contracts" / "Distributor.json").read_text()
    )
    slot = next(
        int(entry["slot"])
        for entry in artifact["storageLayout"]["storage"]
        if entry["label"] == "_totals"
    )
    networks.provider.make_request(
        "anvil_setStorageAt",
        [program.distributor.address, f"{slot:#066x}", "0x" + value.to_bytes(32, "big").hex()],
    )
    assert program.distributor.committed() == value


# What lands.


def test_anyone_posts(program: Program, honest: Posting, stranger: Any) -> None:
    """A stranger who pays the gas moves the bucket exactly as the poster would."""
    program.sender = stranger
    receipt = program.land(honest)
    (event,) = receipt.decode_logs(program.distributor.BatchPosted)
    names = ("bucket", "sequence", "newRoot", "itemsRoot", "interactionsRoot", "ledgerHead")
    assert [event[name] for name in names] == list(honest.batch[:6])
    assert (event.total, bytes(event.deltas)) == (105, honest.deltas)
    assert tuple(program.distributor.buckets(0)) == (3, 4)
    assert program.distributor.root(0, 3) == honest.batch[2]
    assert program.distributor.committed() == 6_105


def test_more_attestors_than_needed_may_sign(program: Program) -> None:
    """All three attestors beside one another land as two do."""
    program.post(ITEMS, signers=ATTESTORS)


def test_a_batch_lands_through_another_contract(
    program: Program, project: Any, deployer: Any
) -> None:
    """A posting wrapped in another contract's call has the same effect and the same log."""
    wallet = deployer.deploy(project.Wallet1271, deployer)
    posting = program.posting(program.plan(ITEMS))
    receipt = wallet.execute(
        program.distributor,
        program.distributor.postBatch.encode_input(*posting.args),
        sender=deployer,
    )
    assert [
        bytes(event.deltas) for event in receipt.decode_logs(program.distributor.BatchPosted)
    ] == [posting.deltas]


def test_buckets_are_independent(program: Program) -> None:
    """A second bucket starts at sequence 1 from the empty root."""
    assert tuple(program.distributor.buckets(7)) == (0, 0)
    assert program.distributor.root(7, 0) == program.bucket(7).root
    program.post([(ACCOUNTS[20], 11)], bucket=7)
    assert tuple(program.distributor.buckets(7)) == (1, 1)
    assert tuple(program.distributor.buckets(0)) == (2, 3)


def test_an_attestor_may_be_a_contract(
    program: Program, project: Any, deployer: Any, owner: Any, chain: Any
) -> None:
    """An attestor with code attests by EIP-1271, and only so."""
    distributor, holder = program.distributor, key(50)
    wallet = deployer.deploy(project.Wallet1271, holder.address)
    both = sorted([wallet.address, ATTESTORS[0].address], key=lambda address: int(address, 16))
    distributor.announceAttestors(both, 2, sender=owner)
    chain.mine(deltatime=distributor.DELAY() + 1)
    distributor.executeAttestors(sender=owner)
    program.epoch = 2
    bare = program.posting(program.plan(ITEMS), signers=[])
    signatures = {
        wallet.address: sign(bare.digest, holder),
        ATTESTORS[0].address: sign(bare.digest, ATTESTORS[0]),
    }
    wrong = signatures | {wallet.address: sign(bare.digest, key(51))}
    posting = replace(bare, attestations=[(address, wrong[address]) for address in both])
    assert _refused("InvalidAttestation", program, posting) == (wallet.address.lower(),)
    program.land(replace(bare, attestations=[(address, signatures[address]) for address in both]))

"""The merged check of several proofs (PROTOCOL, appendix B), attacked.

The key's trapdoor is known here, so a point is known by its logarithm and the whole check can be
written down in scalars: `errors` and `merged`. The attacks themselves use only what everybody can
compute: multiples and sums of the key's own points.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pytest
from eth_abi import encode
from eth_utils import keccak

from prover.field import P, Q
from scripts.simulated_key import SimulatedKey, g1_words, g2_words
from tests.contracts_fuzz.node import Interface, Node, creation
from tests.contracts_fuzz.runner import DEPLOYER, START
from tests.support.anvil import anvil

VERIFIER = Interface("Groth16Verifier")
TAG = keccak(text="Guerdon merged Groth16 v1")
KEY = SimulatedKey("merged")
PARTS = {"A": slice(0, 2), "B": slice(2, 6), "C": slice(6, 8), "signals": slice(8, 13)}


@dataclass(frozen=True)
class Claim:
    """A proof and its signals, the points by their logarithms."""

    a: int
    b: int
    c: int
    signals: tuple[int, ...]

    @property
    def words(self) -> list[int]:
        return [*g1_words(self.a), *g2_words(self.b % P), *g1_words(self.c), *self.signals]


def linear(signals: Sequence[int]) -> int:
    """The logarithm of L: ic0 + sum of signal_i * ic_i."""
    pairs = zip(KEY.ic, (1, *signals), strict=True)
    return sum(scalar * signal for scalar, signal in pairs) % P


def error(claim: Claim) -> int:
    """The logarithm of what a proof's equation is off by; 0 for a proof that holds."""
    right = KEY.alpha * KEY.beta + KEY.gamma * linear(claim.signals) + KEY.delta * claim.c
    return (claim.a * claim.b - right) % P


def merged(claims: Sequence[Claim], challenge: int) -> bool:
    """What the contract's product says, under a challenge."""
    return sum(error(claim) * pow(challenge, i, P) for i, claim in enumerate(claims)) % P == 0


def transcript(verifier: str, claims: Sequence[Claim], without: str = "") -> bytes:
    """What the challenge hashes; `without` one of its inputs."""
    head = {
        "tag": TAG,
        "verifier": bytes.fromhex(verifier[2:]).rjust(32, b"\0"),
        "n": len(claims).to_bytes(32, "big"),
    }
    data = b"".join(word for name, word in head.items() if name != without)
    for claim in claims:
        words = claim.words
        if without in PARTS:
            words[PARTS[without]] = [0] * len(words[PARTS[without]])
        data += b"".join(word.to_bytes(32, "big") for word in words)
    return data


def challenge_of(verifier: str, claims: Sequence[Claim], without: str = "") -> int:
    return int.from_bytes(keccak(transcript(verifier, claims, without)), "big") % P


def honest(rng: random.Random) -> Claim:
    """A proof that holds."""
    a, b = rng.randrange(1, P), rng.randrange(1, P)
    signals = tuple(rng.randrange(P) for _ in range(5))
    rest = a * b - KEY.alpha * KEY.beta - KEY.gamma * linear(signals)
    return Claim(a, b, rest * pow(KEY.delta, -1, P) % P, signals)


@dataclass
class Verifier:
    """The contract under KEY on a chain that traces."""

    node: Node
    address: str

    def takes(self, rows: Sequence[Sequence[int]]) -> bool:
        """What `verifyMany` says."""
        data = VERIFIER.encode("verifyMany", [rows])
        ((went_through, answer),) = self.node.outcomes([(None, self.address, data)])
        assert went_through, "verifyMany reverted"
        return bool(int.from_bytes(answer, "big"))

    def takes_claims(self, claims: Sequence[Claim]) -> bool:
        return self.takes([claim.words for claim in claims])


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    options = {"auto_impersonate": True, "gas_price": 0, "block_base_fee_per_gas": 0}
    with anvil(**options, hardfork="prague", steps_tracing=True, timestamp=1_800_000_000) as chain:
        node = Node(chain.url)
        code = creation("Groth16Verifier", ["uint256[26]"], [KEY.to_words()])
        yield Verifier(node, node.deploy(code, DEPLOYER, START))


@pytest.fixture
def claims() -> list[Claim]:
    rng = random.Random("claims")
    return [honest(rng) for _ in range(3)]


def test_true_statements_are_taken(verifier: Verifier, claims: list[Claim]) -> None:
    """One, some, the same twice, and as many as a transaction may bring."""
    for several in (claims[:1], claims, [claims[0], claims[0]]):
        assert verifier.takes_claims(several)
    assert verifier.takes_claims((claims * 22)[:64])


def test_no_statement_is_no_proof(verifier: Verifier) -> None:
    """An empty set proves nothing."""
    assert not verifier.takes([])


Bend = Callable[[list[Claim]], list[Claim]]
BENT: dict[str, Bend] = {
    "forged": lambda all_: [replace(all_[0], c=all_[0].c + 1), *all_[1:]],
    "another signal": lambda all_: [
        replace(all_[0], signals=(all_[0].signals[0] + 1, *all_[0].signals[1:])),
        *all_[1:],
    ],
    "swapped": lambda all_: [
        replace(all_[0], signals=all_[1].signals),
        replace(all_[1], signals=all_[0].signals),
        all_[2],
    ],
    "repeated with another's signals": lambda all_: [
        all_[0],
        replace(all_[0], signals=all_[1].signals),
        all_[2],
    ],
    "A negated": lambda all_: [replace(all_[0], a=-all_[0].a), *all_[1:]],
    "B negated": lambda all_: [*all_[:2], replace(all_[2], b=-all_[2].b)],
    "C negated": lambda all_: [all_[0], replace(all_[1], c=-all_[1].c), all_[2]],
    "errors that cancel in a plain sum": lambda all_: [
        replace(all_[0], c=all_[0].c + 7),
        replace(all_[1], c=all_[1].c - 7),
        all_[2],
    ],
    "signals that cancel in a plain sum": lambda all_: [
        replace(all_[0], signals=((all_[0].signals[0] + 9) % P, *all_[0].signals[1:])),
        replace(all_[1], signals=((all_[1].signals[0] - 9) % P, *all_[1].signals[1:])),
        all_[2],
    ],
}


@pytest.mark.parametrize("way", BENT)
def test_one_false_proof_spoils_the_set(verifier: Verifier, claims: list[Claim], way: str) -> None:
    """Wherever in the set it stands."""
    bent = BENT[way](claims)
    assert any(error(claim) for claim in bent)
    for order in (bent, bent[::-1], [bent[1], bent[0], bent[2]]):
        assert not verifier.takes_claims(order)


def test_a_proof_for_another_key_is_refused(verifier: Verifier, claims: list[Claim]) -> None:
    """Among true ones under this key."""
    foreign = SimulatedKey("another").prove(claims[0].signals)
    assert not verifier.takes([claims[1].words, [*foreign, *claims[0].signals]])


@pytest.mark.parametrize("place", [0, 2])
def test_words_that_are_no_point_or_signal_are_refused(
    verifier: Verifier, claims: list[Claim], place: int
) -> None:
    """A coordinate of q and more and a signal of p and more, though congruent to the truth; a point
    off its group; A or B at infinity, even where the equation would hold."""
    rows = [claim.words for claim in claims]
    assert verifier.takes(rows)
    for i in range(13):
        for value in (rows[place][i] + (Q if i < 8 else P), rows[place][i] ^ 1):
            bent = [list(row) for row in rows]
            bent[place][i] = value
            assert not verifier.takes(bent), i
    for part in ("A", "B"):
        bent = [list(row) for row in rows]
        bent[place][PARTS[part]] = [0] * len(bent[place][PARTS[part]])
        assert not verifier.takes(bent)


def test_a_proof_without_a_is_refused_though_it_holds(verifier: Verifier) -> None:
    """Under this key alone, whose trapdoor is known, a proof with A at infinity can be made to
    hold: `verify` and `verifyMany` refuse it alike."""
    signals = (1, 2, 3, 4, 5)
    rest = -KEY.alpha * KEY.beta - KEY.gamma * linear(signals)
    c = rest * pow(KEY.delta, -1, P) % P
    words = [0, 0, *g2_words(7), *g1_words(c)]
    single = VERIFIER.encode("verify", [words, signals])
    ((_, answer),) = verifier.node.outcomes([(None, verifier.address, single)])
    assert int.from_bytes(answer, "big") == 0
    assert not verifier.takes([[*words, *signals]])


def test_the_challenge_hashes_every_word(verifier: Verifier, claims: list[Claim]) -> None:
    """The one long message that the contract hashes is tag, verifier, n and all words, in order."""
    data = VERIFIER.encode("verifyMany", [[claim.words for claim in claims]])
    sent = verifier.node.send(DEPLOYER, verifier.address, data, START + 60)
    trace = verifier.node.rpc(
        "debug_traceTransaction", sent["transactionHash"], {"enableMemory": True}
    )
    hashed = []
    for step in trace["structLogs"]:
        if step["op"] == "KECCAK256":
            size, offset = (int(step["stack"][i], 16) for i in (-2, -1))
            memory = bytes.fromhex("".join(w.removeprefix("0x") for w in step["memory"]))
            hashed.append(memory[offset : offset + size])
    assert hashed == [transcript(verifier.address, claims)]


# What becomes possible where the challenge does not hash an input. `without` names the input.


def _with_free_signals(verifier: str, rng: random.Random) -> list[Claim]:
    """Two false statements from two true ones: the signals move after the challenge is known."""
    first, second = honest(rng), honest(rng)
    c = challenge_of(verifier, [first, second], "signals")
    moved = (first.signals[0] + c * 5) % P, (second.signals[0] - 5) % P
    return [
        replace(first, signals=(moved[0], *first.signals[1:])),
        replace(second, signals=(moved[1], *second.signals[1:])),
    ]


def _with_free_a(verifier: str, rng: random.Random) -> list[Claim]:
    """Any two statements, without a proof of anything: with B = beta and B = gamma, A takes up
    alpha and the signals once the weights are known."""
    anything = [tuple(rng.randrange(P) for _ in range(5)) for _ in range(2)]
    drafts = [Claim(1, KEY.beta, 0, anything[0]), Claim(1, KEY.gamma, 0, anything[1])]
    c = challenge_of(verifier, drafts, "A")
    lines = (linear(anything[0]) + c * linear(anything[1])) % P
    return [
        replace(drafts[0], a=KEY.alpha * (1 + c) % P),
        replace(drafts[1], a=lines * pow(c, -1, P) % P),
    ]


def _with_free_b(verifier: str, rng: random.Random) -> list[Claim]:
    """The same the other way round: A = alpha and A = L of one statement, B takes the weights.
    Both statements have the same signals."""
    signals = tuple(rng.randrange(P) for _ in range(5))
    drafts = [Claim(KEY.alpha, 1, 0, signals), Claim(linear(signals), 1, 0, signals)]
    c = challenge_of(verifier, drafts, "B")
    return [
        replace(drafts[0], b=KEY.beta * (1 + c) % P),
        replace(drafts[1], b=KEY.gamma * (1 + c) * pow(c, -1, P) % P),
    ]


def _with_free_c(verifier: str, rng: random.Random) -> list[Claim]:
    """Two proofs that do not hold, of two true statements: C moves after the challenge is known."""
    first, second = honest(rng), honest(rng)
    c = challenge_of(verifier, [first, second], "C")
    return [replace(first, c=(first.c + c * 5) % P), replace(second, c=(second.c - 5) % P)]


FORGERIES = {"A": _with_free_a, "B": _with_free_b, "C": _with_free_c, "signals": _with_free_signals}


@pytest.mark.parametrize("without", FORGERIES)
def test_an_input_left_out_is_a_forgery(verifier: Verifier, without: str) -> None:
    """With a challenge that leaves the input out, a set of proofs that do not hold passes; the
    contract refuses the very same set."""
    forged = FORGERIES[without](verifier.address, random.Random(without))
    assert all(error(claim) for claim in forged)
    assert merged(forged, challenge_of(verifier.address, forged, without))
    assert not merged(forged, challenge_of(verifier.address, forged))
    assert not verifier.takes_claims(forged)


def test_known_weights_are_a_forgery(verifier: Verifier) -> None:
    """Weights that anybody knows before the proofs are fixed (all 1, or powers of a constant) prove
    any two statements in two lines."""
    rng = random.Random("known")
    for weight in (1, 2, 2**128 - 1):
        anything = [tuple(rng.randrange(P) for _ in range(5)) for _ in range(2)]
        lines = (linear(anything[0]) + weight * linear(anything[1])) % P
        forged = [
            Claim(KEY.alpha * (1 + weight) % P, KEY.beta, 0, anything[0]),
            Claim(lines * pow(weight, -1, P) % P, KEY.gamma, 0, anything[1]),
        ]
        assert all(error(claim) for claim in forged)
        assert merged(forged, weight)
        assert not verifier.takes_claims(forged)


def test_the_contract_agrees_with_the_scalars(verifier: Verifier) -> None:
    """Random sets, some with an error: the contract says what the equation in scalars says."""
    rng = random.Random("scalars")
    for _ in range(12):
        several = [honest(rng) for _ in range(rng.randint(1, 5))]
        if rng.random() < 0.5:
            place = rng.randrange(len(several))
            field = rng.choice(("a", "b", "c"))
            bent = getattr(several[place], field) + rng.choice((1, -1, P // 2))
            several[place] = replace(several[place], **{field: bent % P})
        expected = merged(several, challenge_of(verifier.address, several))
        assert verifier.takes_claims(several) is expected
        assert expected is not any(error(claim) for claim in several)


def test_encode_is_plain() -> None:
    """The words that are hashed are those of the calldata: fixed arrays lie one after another."""
    rows = [list(range(13 * i, 13 * i + 13)) for i in range(3)]
    flat = b"".join(word.to_bytes(32, "big") for row in rows for word in row)
    assert encode(["uint256[13][]"], [rows])[64:] == flat

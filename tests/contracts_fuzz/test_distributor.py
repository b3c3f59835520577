"""The deployed Distributor, with real signatures and the real Poseidon2, does what a plain model
says, call by call, whatever is called.

`make soak` and `make fuzz` go on with other seeds; `python -m tests.contracts_fuzz.campaign --help`
says how.
"""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.contracts_fuzz.model import Model
from tests.contracts_fuzz.node import node
from tests.contracts_fuzz.runner import DISTRIBUTOR, Chain, Disagreement, Run

SEEDS, CALLS = (*range(7), 11, 18, 27, 28, 33, 68, 90, 94), 240
"""Few, and between them they reach every call and every refusal; `make soak` plays others."""
UNREACHABLE = {
    "InvalidLevels": "deployment alone",
    "SignatureGas": "a call with little gas",
    "InvalidShortString": "OpenZeppelin's EIP712, of names beyond 31 characters",
    "StringTooLong": "OpenZeppelin's EIP712, of names beyond 31 characters",
    "OwnableInvalidOwner": "deployment alone",
    "ReentrancyGuardReentrantCall": "a token that calls back",
    "SafeERC20FailedOperation": "a token that fails",
}
"""Errors of the contract that calls with an honest token cannot meet."""


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    with node() as fresh:
        yield Chain(fresh)


@pytest.fixture(scope="module")
def outcomes(chain: Chain) -> Counter:
    """(function, error or "done") -> how often, of all runs."""
    counted: Counter = Counter()
    for seed in SEEDS:
        run = Run(chain, f"test {seed}")
        run.play(CALLS)
        counted += run.outcomes
    return counted


def test_chain_and_model_agree(outcomes: Counter) -> None:
    """Thousands of random calls have the model's outcome, events and state each, and after each
    the reserve covers what is owed."""
    assert sum(outcomes.values()) == len(SEEDS) * CALLS > 3_500


def test_every_call_is_made_and_every_refusal_met(outcomes: Counter) -> None:
    """The runs reach every state-changing call, successfully and by strangers, and every custom
    error that calls can meet."""
    errors = {error for _, error in outcomes}
    assert {name for name, _ in DISTRIBUTOR.errors.values()} - errors == set(UNREACHABLE)
    views = {"DELAY", "ANNOUNCEMENT_LIFETIME", "eip712Domain"}
    done = {function for function, outcome in outcomes if outcome == "done"}
    changing = {
        name for name, (_, _, outputs) in DISTRIBUTOR.functions.items() if not outputs
    } - views
    assert changing <= done
    for function in changing - {"postBatch", "postBatches", "claim", "claimTo", "claimMany"}:
        guardians = function.startswith("pause") or function == "lowerDailyLimit"
        stranger = "NotGuardian" if guardians else "OwnableUnauthorizedAccount"
        assert (function, stranger) in outcomes, function


FORGOTTEN_RULES = {
    "a payment is booked": (
        "_claim",
        lambda self, time, index, sequence, payout, siblings, recipient: [],
        "logged|refused by",
    ),
    "attestors sign": ("_require_attested", lambda self, digest, attestations: None, "Attest"),
    "only the owner": ("_require_owner", lambda self, sender: None, "OwnableUnauthorizedAccount"),
    "only posted roots": (
        "posted",
        lambda self, index, sequence: 0 <= sequence <= self.bucket(index).sequence,
        "UnknownRoot",
    ),
    "the daily limit": ("exceeds_limit", lambda self, time, total: False, "DailyLimit"),
    "the reserve": ("reserve", property(lambda self: 2**140), "ReserveExceeded|ExceedsUncommitted"),
}


@pytest.mark.parametrize("rule", FORGOTTEN_RULES)
def test_a_difference_is_found(chain: Chain, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison sees what it is for: a model that forgets one rule disagrees with the chain
    within a few runs, about that rule."""
    name, without, sight = FORGOTTEN_RULES[rule]
    monkeypatch.setattr(Model, name, without)
    with pytest.raises(Disagreement, match=f"seed 'forget'.*({sight})"):
        Run(chain, "forget").play(10 * CALLS)

"""One run of the fuzz: random calls to a deployed Distributor and to the model, compared call by
call."""

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from prover.eip712 import Domain
from tests.contracts_fuzz.cast import BUCKETS, Cast, Move, address_of, key_of
from tests.contracts_fuzz.model import Model
from tests.contracts_fuzz.moves import MOVES, WEIGHTS, later
from tests.contracts_fuzz.node import Interface, Node, artifact, creation, place_ideal_verifier
from tests.contracts_fuzz.powers import NOBODY, Refused

LEVELS = 2
START = 1_900_000_000
DEPLOYER = address_of(key_of("deployer"))
VERIFIER = address_of(key_of("verifier"))
CONFIG = "(address,address,address,uint8,uint32,address,address,address[],uint16,uint96)"
DISTRIBUTOR, TOKEN = Interface("Distributor"), Interface("TestToken")


class Disagreement(AssertionError):
    """Chain and model do not agree; the message says where, and how to run it again."""


@dataclass
class Chain:
    """A deployed program of 8 slots a bucket on a fresh Anvil, its first state kept for the next
    run."""

    node: Node

    def __post_init__(self) -> None:
        self.wallet = self.node.deploy(
            creation("Wallet1271", ["address"], [address_of(key_of("holder"))]), DEPLOYER, START
        )
        self.cast = Cast(self.wallet)
        self.token = self.node.deploy(
            creation("TestToken", ["string", "string"], ["Fuzz", "FZZ"]), DEPLOYER, START + 1
        )
        hasher = self.node.deploy(creation("Poseidon2"), DEPLOYER, START + 2)
        place_ideal_verifier(self.node, VERIFIER)
        first = self.cast.attestors[:3]
        config = (
            self.token,
            VERIFIER,
            hasher,
            LEVELS,
            1,
            self.cast.owners[0],
            self.cast.guardians[0],
            first,
            2,
            0,
        )
        self.distributor = self.node.deploy(
            creation("Distributor", [CONFIG], [config]), DEPLOYER, START + 3
        )
        self.chain_id = int(self.node.rpc("eth_chainId"), 16)
        self.keep()

    def keep(self) -> None:
        """What stands on the chain now is what every run begins with."""
        self._snapshot = self.node.rpc("evm_snapshot")

    def model(self) -> Model:
        """The state after deployment."""
        domain, cast = Domain(self.chain_id, self.distributor), self.cast
        return Model(
            domain=domain,
            levels=LEVELS,
            keys=cast.keys,
            wallet=cast.wallet,
            owner=cast.owners[0],
            guardian=cast.guardians[0],
            attestors=cast.attestors[:3],
            threshold=2,
        )

    def restart(self) -> None:
        self.node.rpc("evm_revert", self._snapshot)
        self.keep()

    def target(self, move: Move) -> tuple[Interface, str]:
        return (TOKEN, self.token) if move.function == "mint" else (DISTRIBUTOR, self.distributor)


@dataclass
class Run:
    """A seed's sequence of calls. `outcomes` counts (function, error or "done")."""

    chain: Chain
    seed: str
    outcomes: Counter = field(default_factory=Counter)
    history: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.model = self.chain.model()
        self.time = START + 10
        self.past = 0

    def play(self, calls: int) -> None:
        """Raises Disagreement with the seed and the last calls."""
        self.chain.restart()
        if self.rng.random() < 0.1:
            self._grow_old()
        try:
            for _ in range(calls):
                self.step()
            self._compare(self._whole_state())
            self._require_sums()
        except AssertionError as error:
            last = "\n".join(self.history[-12:])
            raise Disagreement(
                f"seed {self.seed!r}, call {len(self.history)}: {error}\nthe last calls:\n{last}"
            ) from error

    def _grow_old(self) -> None:
        """As if almost 2^127 units had been booked and paid, so that the limit of `committed` is
        near."""
        self.past = self.model.committed = self.model.claimed_total = 2**127 - 2**99
        slot = next(
            item["slot"]
            for item in artifact("Distributor")["storageLayout"]["storage"]
            if item["label"] == "_totals"
        )
        word = self.past.to_bytes(16, "big") * 2
        self.chain.node.rpc(
            "anvil_setStorageAt", self.chain.distributor, f"{int(slot):#x}", "0x" + word.hex()
        )

    def step(self) -> None:
        """One call: same outcome, same events, same state."""
        self.time = later(self.rng, self.model, self.time)
        move = self.rng.choices(MOVES, WEIGHTS)[0](self.rng, self.model, self.chain.cast, self.time)
        before = (self.model.committed, self.model.claimed_total)
        try:
            events, expected = (
                getattr(self.model, move.function)(move.sender, self.time, *move.args),
                None,
            )
        except Refused as refusal:
            events, expected = [], refusal
        self.history.append(f"  {self.time} {move} -> {expected or 'done'}")
        interface, address = self.chain.target(move)
        data = interface.encode(move.function, move.args)
        if expected is None:
            self._require_done(move, address, data, events)
            assert before[0] <= self.model.committed
            assert before[1] <= self.model.claimed_total
        else:
            self._require_refused(move, interface, address, data, expected)
        self.outcomes[move.function, expected.name if expected else "done"] += 1

    def _require_refused(
        self, move: Move, interface: Interface, address: str, data: bytes, expected: Refused
    ) -> None:
        ((done, result),) = self.chain.node.outcomes([(move.sender, address, data)], self.time)
        assert not done, f"went through; the model refuses it by {expected}"
        name, *arguments = interface.error(result)
        same = name == expected.name and (
            expected.arguments is None or _plain(arguments) == _plain(expected.arguments)
        )
        assert same, (
            f"refused by {name}{tuple(arguments)}; the model refuses it by "
            f"{expected.name}{expected.arguments}"
        )
        if self.rng.random() < 0.1:  # for good: a refused transaction leaves everything as it was
            receipt = self.chain.node.send(move.sender, address, data, self.time)
            assert (receipt["status"], receipt["logs"]) == ("0x0", [])
            self._compare(self._small_state(move))

    def _require_done(
        self, move: Move, address: str, data: bytes, events: list[tuple[Any, ...]]
    ) -> None:
        receipt = self.chain.node.send(move.sender, address, data, self.time)
        if receipt["status"] != "0x1":
            ((_, result),) = self.chain.node.outcomes([(move.sender, address, data)], self.time)
            raise AssertionError(
                f"refused by {DISTRIBUTOR.error(result)}; the model lets it through"
            )
        logs = [
            DISTRIBUTOR.event(log)
            for log in receipt["logs"]
            if log["address"] == self.chain.distributor
        ]
        assert _plain(logs) == _plain(events), f"logged {logs}; the model expects {events}"
        self._compare(self._small_state(move))

    def _compare(self, expected: dict[tuple, tuple[Any, ...] | Refused]) -> None:
        """Each (contract, view, arguments...) must answer as the model does, and the invariants
        hold for what the chain answers."""
        calls = []
        for contract, view, *args in expected:
            interface, address = (
                (TOKEN, self.chain.token)
                if contract == "token"
                else (DISTRIBUTOR, self.chain.distributor)
            )
            calls.append((None, address, interface.encode(view, args)))
        found = {}
        for (view, answer), (done, data) in zip(
            expected.items(), self.chain.node.outcomes(calls, self.time), strict=True
        ):
            interface = TOKEN if view[0] == "token" else DISTRIBUTOR
            found[view] = interface.decode(view[1], data) if done else interface.error(data)
            wanted = (
                answer if isinstance(answer, tuple) else (answer.name, *(answer.arguments or ()))
            )
            assert _plain(found[view]) == _plain(wanted), (
                f"{view} is {found[view]}; the model expects {wanted}"
            )
        (committed,), (claimed,) = (
            found["distributor", "committed"],
            found["distributor", "claimedTotal"],
        )
        (held,) = found["token", "balanceOf", self.chain.distributor]
        assert claimed <= committed < 2**127
        assert held >= committed - claimed, f"{held} units held for {committed - claimed} owed"

    def _small_state(self, move: Move) -> dict[tuple, Any]:
        """All single values, and what the call can have touched."""
        model = self.model
        pending = model.pending_attestors or ([], 0, 0)
        state: dict[tuple, Any] = {
            ("distributor", "committed"): (model.committed,),
            ("distributor", "claimedTotal"): (model.claimed_total,),
            ("token", "balanceOf", self.chain.distributor): (model.balance(model.address),),
            ("distributor", "owner"): (model.owner,),
            ("distributor", "pendingOwner"): (model.pending_owner,),
            ("distributor", "guardian"): (model.guardian,),
            ("distributor", "attestors"): (model.attestors,),
            ("distributor", "threshold"): (model.threshold,),
            ("distributor", "attestorEpoch"): (model.epoch,),
            ("distributor", "pendingAttestors"): tuple(pending),
            ("distributor", "families"): (model.families,),
            ("distributor", "dailyLimit"): (
                model.limit.per_day,
                model.limit.left(self.time),
                model.limit.owner_set,
            ),
            ("distributor", "pendingDailyLimit"): model.limit.pending or (0, 0),
            ("distributor", "pendingWithdrawal"): _announced(model.pending_withdrawal),
            ("distributor", "postingPausedUntil"): (model.paused_until["posting"],),
            ("distributor", "claimsPausedUntil"): (model.paused_until["claims"],),
        }
        if move.function.startswith("postBatch"):
            batches = [post[0] for post in move.args[0]] if len(move.args) == 1 else [move.args[0]]
            for index in {batch[0] for batch in batches}:
                bucket = model.bucket(index)
                state["distributor", "buckets", index] = (bucket.sequence, len(bucket.pairs))
                state["distributor", "root", index, bucket.sequence] = (bucket.trees[-1].root,)
        elif move.function.startswith("claim"):
            slots = (
                [payout[0] for payout in move.args[2]]
                if move.function == "claimMany"
                else [move.args[1]]
            )
            state |= self._claimed(move.args[0], [slot for slot in slots if slot < model.slots])
        return state

    def _claimed(self, index: int, slots: list[int]) -> dict[tuple, Any]:
        bucket, state = self.model.bucket(index), {}
        for slot in slots:
            paid = bucket.claimed.get(slot, 0)
            account, cumulative = bucket.pairs[slot] if slot < len(bucket.pairs) else (0, 0)
            assert paid <= cumulative
            state["distributor", "claimed", index, slot] = (paid,)
            state["token", "balanceOf", f"{account:#042x}"] = (
                self.model.balance(f"{account:#042x}"),
            )
        return state

    def _whole_state(self) -> dict[tuple, Any]:
        """Everything: all roots posted and not posted, all payments, all balances."""
        model, cast = self.model, self.chain.cast
        state = self._small_state(Move(NOBODY, "mint", ()))
        for index in range(BUCKETS):
            bucket = model.bucket(index)
            state |= self._claimed(index, list(range(model.slots)))
            state["distributor", "buckets", index] = (bucket.sequence, len(bucket.pairs))
            for sequence in range(bucket.sequence + 2):
                posted = sequence == 0 or model.posted(index, sequence)
                root = (
                    (bucket.trees[sequence].root,)
                    if posted
                    else Refused("UnknownRoot", index, sequence)
                )
                state["distributor", "root", index, sequence] = root
        return state | {
            ("token", "balanceOf", person): (model.balance(person),) for person in cast.everybody
        }

    def _require_sums(self) -> None:
        """Nobody was paid twice: payments by slot add up to the total, and every token is where the
        calls brought it."""
        buckets = self.model.buckets.values()
        assert (
            sum(paid for bucket in buckets for paid in bucket.claimed.values())
            == self.model.claimed_total - self.past
        )
        assert (
            sum(cumulative for bucket in buckets for _, cumulative in bucket.pairs)
            == self.model.committed - self.past
        )
        ((supply,),) = [
            TOKEN.decode("totalSupply", data)
            for data in self.chain.node.calls([(self.chain.token, TOKEN.encode("totalSupply", ()))])
        ]
        assert supply == sum(self.model.balances.values())


def _announced(withdrawal: tuple[str, int, int] | None) -> tuple[str, int, int]:
    return withdrawal or (NOBODY, 0, 0)


def _plain(value: Any) -> Any:
    """Tuples and lists alike, addresses in lower case."""
    if isinstance(value, list | tuple):
        return tuple(_plain(part) for part in value)
    return value.lower() if isinstance(value, str) and value.startswith("0x") else value

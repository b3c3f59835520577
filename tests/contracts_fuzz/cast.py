"""Who plays in the fuzz, and one call of one of them."""

from dataclasses import dataclass, field
from typing import Any

from eth_keys.datatypes import PrivateKey
from eth_utils import keccak

from tests.contracts_fuzz.node import CURVE_ORDER

BUCKETS = 2


def key_of(name: str) -> int:
    """The key of a person of the test."""
    return int.from_bytes(keccak(text=f"fuzz {name}"), "big") % CURVE_ORDER


def address_of(key: int) -> str:
    return PrivateKey(key.to_bytes(32, "big")).public_key.to_address()


@dataclass(frozen=True)
class Move:
    """One call, and what is wrong with it, if its maker knows."""

    sender: str
    function: str
    args: tuple[Any, ...]
    fault: str = ""


@dataclass
class Cast:
    """Everybody. `wallet` is a contract that signs by EIP-1271 for its holder; it attests and earns
    like the others."""

    wallet: str
    keys: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        people = {
            name: key_of(name)
            for name in [f"attestor {i}" for i in range(6)] + [f"account {i}" for i in range(12)]
        }
        self.keys = {address_of(key): key for key in people.values()} | {
            self.wallet: key_of("holder")
        }
        addresses = list(self.keys)
        self.attestors = sorted([*addresses[:6], self.wallet])
        self.accounts = addresses[6:]
        self.owners = [address_of(key_of(f"owner {i}")) for i in range(3)]
        self.guardians = [address_of(key_of(f"guardian {i}")) for i in range(3)]
        self.strangers = [address_of(key_of(f"stranger {i}")) for i in range(2)]

    @property
    def everybody(self) -> list[str]:
        return [*self.owners, *self.guardians, *self.strangers, *self.attestors, *self.accounts]

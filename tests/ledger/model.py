"""A ledger as plain dictionaries: what the real one is compared with."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class PlainLedger:
    """Balances in base units: what the contract holds, what is free (below zero: withdrawn although
    promised), what each address is owed."""

    reserve: int = 0
    budget: int = 0
    owed: Counter[str] = field(default_factory=Counter)
    held: list[tuple[str, int]] = field(default_factory=list)

    def fund(self, amount: int) -> None:
        self.reserve += amount
        self.budget += amount
        waiting, self.held = self.held, []
        for address, value in waiting:
            self.reward(address, value)

    def reward(self, address: str, amount: int) -> bool:
        if amount > self.budget:
            self.held.append((address, amount))
            return False
        self.budget -= amount
        self.owed[address] += amount
        return True

    def claim(self, address: str, amount: int) -> bool:
        if amount > self.owed[address] or amount > self.reserve:
            return False
        self.owed[address] -= amount
        self.reserve -= amount
        return True

    def reverse(self, address: str, amount: int) -> bool:
        if amount > self.owed[address]:
            return False
        self.owed[address] -= amount
        self.budget += amount
        return True

    def withdraw(self, amount: int) -> bool:
        if amount > self.reserve:
            return False
        self.budget -= amount
        self.reserve -= amount
        return True

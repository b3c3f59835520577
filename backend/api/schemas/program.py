"""What is public of a program."""

from backend.api.schemas.token import TokenFields
from backend.kit.schema import AmountText


class ProgramOut(TokenFields):
    """One program. `halted`: nothing is taken in, batched or indexed until the operator has looked;
    `halted_reason` says why, in full with the operator's key."""

    name: str
    chain_id: int
    distributor: str
    verifier: str
    instance: str
    families: int
    finality: str
    last_indexed_block: int
    halted: bool
    halted_reason: str | None


class ProgramDetailOut(ProgramOut):
    """A program with its ledger balances, in base units."""

    reserve: AmountText
    available_budget: AmountText
    deficit: AmountText

"""What is public of a program."""

from backend.api.schemas.token import TokenFields
from backend.kit.schema import AmountText, Out


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


class DailyLimitOut(Out):
    """What batches may commit in a day, in base units, by the final chain.

    `left` can be committed now. It refills evenly: all of it is left at `whole_at`, in Unix
    seconds, if no more is committed. `above` is promised in interactions that alone are above the
    limit: they wait for a higher one.
    """

    per_day: AmountText
    left: AmountText
    whole_at: int
    above: AmountText
    above_interactions: int


class ProgramDetailOut(ProgramOut):
    """A program with its ledger balances, in base units. `daily_limit` is null without one."""

    reserve: AmountText
    available_budget: AmountText
    deficit: AmountText
    daily_limit: DailyLimitOut | None

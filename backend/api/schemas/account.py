"""What is public of an account."""

from backend.kit.schema import AmountText, HexText, Out


class AccountOut(Out):
    """earned = pending + claimable + claimed. `held` is reported but not earned yet. All in base
    units."""

    address: str
    earned: AmountText
    pending: dict[str, AmountText]
    held: dict[str, AmountText]
    claimable: AmountText
    claimed: AmountText
    bucket: int | None
    slot: int | None


class ClaimOut(Out):
    """You can claim `claimable` now: send `calldata` to `to` from any wallet. It pays `account`."""

    chain_id: int
    to: str
    bucket: int
    slot: int
    sequence: int
    account: str
    cumulative: AmountText
    claimable: AmountText
    siblings: list[AmountText]
    calldata: HexText

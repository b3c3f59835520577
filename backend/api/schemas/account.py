"""What is public of an account."""

from backend.api.schemas.token import TokenFields
from backend.kit.schema import AmountText, HexText


class AccountOut(TokenFields):
    """Balances of one account, in base units: earned = pending + claimable + claimed.

    `pending` and `held` say why, each amount by its reason. `held` is reported and not earned yet.
    """

    address: str
    earned: AmountText
    pending: dict[str, AmountText]
    held: dict[str, AmountText]
    claimable: AmountText
    claimed: AmountText
    bucket: int | None
    slot: int | None


class ClaimOut(TokenFields):
    """The call that claims `claimable` now: send `calldata` to `to` from any wallet.

    The call pays `account`.
    """

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

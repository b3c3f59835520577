"""What is public of an account."""

from backend.api.schemas.token import TokenFields
from backend.kit.schema import AmountText, HexText


class AccountOut(TokenFields):
    """Balances of one account, in base units: earned = pending + claimable + claiming + claimed.

    `pending` and `held` say why, each amount by its reason. `held` is reported and not earned yet.
    `claiming` is paid on chain by a claim that is not final; `seen_at_block` is the newest block,
    at which the chain was asked. It is null if nothing is left to claim or the chain's node does
    not answer: then `claimable` may hold what a claim has paid since the last final block.
    """

    address: str
    earned: AmountText
    pending: dict[str, AmountText]
    held: dict[str, AmountText]
    claimable: AmountText
    claiming: AmountText = "0"
    claimed: AmountText
    seen_at_block: int | None = None
    bucket: int | None
    slot: int | None


class ClaimOut(TokenFields):
    """The call that claims `claimable` now: send `calldata` to `to` from any wallet.

    The call pays `account`. `claiming` and `seen_at_block` are as in the account's balances.
    """

    chain_id: int
    to: str
    bucket: int
    slot: int
    sequence: int
    account: str
    cumulative: AmountText
    claimable: AmountText
    claiming: AmountText = "0"
    seen_at_block: int | None = None
    siblings: list[AmountText]
    calldata: HexText

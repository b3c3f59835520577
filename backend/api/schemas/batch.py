"""What is public of a batch."""

from datetime import datetime

from backend.api.schemas.token import TokenFields
from backend.kit.schema import AmountText, HexText, Out


class BatchOut(Out):
    """One batch. `state`: closed, attested, proven, posted or final; a batch that never lands
    is quarantined or superseded, and `reason` says why. Roots are field elements as decimal texts.

    `tx_hash` is the transaction that posted it, and `batches_in_tx` how many batches of the program
    that transaction posted. They share its gas in equal parts: `gas_used` is this batch's part.

    Its `note` is not here: it can hold what a node or an attestor answered, URLs included.
    """

    bucket: int
    sequence: int
    state: str
    items: int
    accounts_touched: int
    total: AmountText
    old_root: AmountText
    new_root: AmountText
    items_root: AmountText
    interactions_root: HexText
    ledger_head: HexText
    deltas: HexText
    prove_ms: int | None
    tx_hash: str | None
    gas_used: int | None
    batches_in_tx: int | None
    block_number: int | None
    reason: str | None
    created_at: datetime


class BatchAccountOut(Out):
    """One touched slot: its gain, and its cumulative after the batch, in base units."""

    slot: int
    address: str
    delta: AmountText
    cumulative: AmountText


class BatchDetailOut(BatchOut, TokenFields):
    """A batch with its envelope, its attestors and the slots that it touches."""

    attestor_epoch: int | None
    valid_until: int | None
    digest: HexText | None
    proof: HexText | None
    attestors: list[str]
    accounts: list[BatchAccountOut]


class BatchesOut(TokenFields):
    """One page, newest first. Send `next` as `before` for the next page; null on the last page."""

    batches: list[BatchOut]
    next: int | None

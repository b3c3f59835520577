"""What intake answers. Never evidence, and nothing of a partner's users."""

from typing import Any, Literal

from backend.api.schemas.token import TokenFields
from backend.kit.schema import AmountText, HexText, Out
from backend.partner.report import ITEMS_MAX


class FirstReport(Out):
    """What was reported first under an event id. It is kept."""

    account: str
    amount: AmountText
    occurred_at: int


class ItemAnswer(Out):
    """What became of one reported item. `first` is there where the item is in conflict with it."""

    status: Literal["accepted", "duplicate", "held", "rejected"]
    event_id: str | None
    reason: str | None = None
    field: str | None = None
    message: str | None = None
    state: str | None = None
    first: FirstReport | None = None


class IntakeOut(Out):
    """One answer an item, in the order of the request."""

    results: list[ItemAnswer]


class Membership(Out):
    """Proof that an interaction is in a posted batch: an OpenZeppelin StandardMerkleTree proof
    under `interactions_root`."""

    leaf_types: list[str]
    leaf: list[str]
    proof: list[HexText]
    interactions_root: HexText


class InteractionFields(Out):
    """The fields of the EIP-712 struct `Interaction`, hashed ids as the protocol has them."""

    program: HexText
    partner: HexText
    event_id: HexText
    account: str
    amount: AmountText
    occurred_at: int
    evidence: HexText
    hash: HexText


class BatchRef(Out):
    """The state of the interaction's batch."""

    bucket: int
    sequence: int
    item_index: int
    state: str
    tx_hash: str | None


class InteractionOut(TokenFields):
    """`state`: held, accepted (waits for a batch), batched, posted (its batch is final on chain),
    above_daily_limit (alone it is more than the program may commit in a day: earned all the same,
    it waits for a higher limit), unprovable (waits for the operator; its reward is earned all the
    same), or reversed (its reward was taken back before it was batched)."""

    partner: str
    event_id: str
    account: str
    amount: AmountText
    occurred_at: int
    state: Literal[
        "held", "accepted", "batched", "posted", "above_daily_limit", "unprovable", "reversed"
    ]
    held_reason: str | None
    batch: BatchRef | None
    interaction: InteractionFields
    membership: Membership | None


DELIVERY_BODY: dict[str, Any] = {
    "parameters": [
        {
            "in": "header",
            "name": name,
            "required": True,
            "schema": {"type": "string"},
            "description": text,
        }
        for name, text in (
            ("guerdon-partner", "the partner's name"),
            ("webhook-id", "unique id of this message"),
            ("webhook-timestamp", "Unix seconds, at most five minutes off"),
            (
                "webhook-signature",
                "v1,<base64 HMAC-SHA256 of id.timestamp.body>; several, separated by spaces, "
                "while rotating",
            ),
        )
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["interactions"],
                    "additionalProperties": False,
                    "properties": {
                        "interactions": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": ITEMS_MAX,
                            "items": {
                                "type": "object",
                                "required": ["event_id", "account", "amount", "occurred_at"],
                                "additionalProperties": False,
                                "properties": {
                                    "event_id": {
                                        "type": "string",
                                        "pattern": "^[\\x21-\\x7e]{1,128}$",
                                    },
                                    "account": {
                                        "type": "string",
                                        "pattern": "^0x[0-9a-fA-F]{40}$",
                                        "description": "EIP-55 or one case",
                                    },
                                    "amount": {
                                        "type": "string",
                                        "pattern": "^[1-9][0-9]{0,28}$",
                                        "description": "base units, below 2^96",
                                    },
                                    "occurred_at": {
                                        "type": "integer",
                                        "minimum": 1,
                                        "description": "Unix seconds",
                                    },
                                },
                            },
                        }
                    },
                }
            }
        },
    },
}

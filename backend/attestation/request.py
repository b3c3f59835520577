"""What an attestor is asked, as JSON (docs/ARCHITECTURE.md). Pure: protocol values in, payload
out."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.partner.evidence import Delivery
from prover.eip712 import BatchEnvelope, Domain, TypedInteraction


@dataclass(frozen=True)
class DeliveryEvidence:
    """A delivery as received: the partner's id, the request, and the 32-byte salt of its hash."""

    partner: str
    delivery: Delivery
    salt: bytes


@dataclass(frozen=True)
class ItemSource:
    """Where an item comes from: position `position` in delivery number `delivery` of the request;
    amount in base units."""

    delivery: int
    position: int
    amount: int


def build_request(
    domain: Domain,
    envelope: BatchEnvelope,
    deltas: bytes,
    deliveries: Sequence[DeliveryEvidence],
    items: Sequence[ItemSource],
) -> dict[str, Any]:
    """The body of POST /v1/attestations. Items are in ledger order, item j the batch's item j."""
    return {
        "chain_id": domain.chain_id,
        "distributor": domain.distributor,
        "bucket": envelope.bucket,
        "sequence": envelope.sequence,
        "new_root": str(envelope.new_root),
        "items_root": str(envelope.items_root),
        "interactions_root": _hex(envelope.interactions_root),
        "ledger_head": _hex(envelope.ledger_head),
        "attestor_epoch": envelope.attestor_epoch,
        "valid_until": envelope.valid_until,
        "deltas": _hex(deltas),
        "deliveries": [
            {
                "partner": sent.partner,
                "scheme": sent.delivery.scheme,
                "method": sent.delivery.method,
                "target": sent.delivery.target,
                "headers": [list(header) for header in sent.delivery.headers],
                "body": base64.b64encode(sent.delivery.body).decode(),
                "salt": _hex(sent.salt),
            }
            for sent in deliveries
        ],
        "items": [
            {"delivery": item.delivery, "position": item.position, "amount": str(item.amount)}
            for item in items
        ],
    }


def build_leaves(
    domain: Domain, bucket: int, sequence: int, items: Sequence[tuple[TypedInteraction, int]]
) -> dict[str, Any]:
    """The body of POST /v1/leaves: (interaction, item amount) of every item of a landed batch, in
    order."""
    return {
        "chain_id": domain.chain_id,
        "distributor": domain.distributor,
        "bucket": bucket,
        "sequence": sequence,
        "items": [
            {
                "partner": _hex(interaction.partner),
                "event_id": _hex(interaction.event_id),
                "account": interaction.account,
                "amount": str(interaction.amount),
                "occurred_at": interaction.occurred_at,
                "evidence": _hex(interaction.evidence),
                "item_amount": str(item_amount),
            }
            for interaction, item_amount in items
        ],
    }


def _hex(value: bytes) -> str:
    return "0x" + value.hex()

"""Recording what the chain has paid to an account."""

from sqlalchemy.orm import Session

from backend.account.models import Account, Claim
from backend.chain.events import Claimed


def record_claim(session: Session, account: Account, event: Claimed) -> None:
    """Add a claim to an account. The caller books it in the ledger first, which admits it once."""
    account.claimed += event.amount
    session.add(
        Claim(
            program_id=account.program_id,
            account_id=account.id,
            recipient=event.recipient,
            amount=event.amount,
            tx_hash="0x" + event.tx_hash.hex(),
            block_number=event.block_number,
            log_index=event.log_index,
        )
    )
    session.flush()

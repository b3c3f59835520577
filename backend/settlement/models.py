"""Which batches an outgoing transaction posts."""

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from backend.kit.db import Base, Bytes


class BatchPost(Base):
    """One batch in one post, written with the transaction's row and never changed. A batch has one
    row for each post; those of its present digest are of its present envelope."""

    __tablename__ = "batch_post"

    outgoing_id: Mapped[int] = mapped_column(
        ForeignKey("outgoing_transaction.id"), primary_key=True
    )
    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"), primary_key=True, index=True)
    digest: Mapped[Bytes]

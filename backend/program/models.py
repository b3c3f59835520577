"""A program: one reward token, one Distributor, one set of attestors."""

from sqlalchemy import JSON, BigInteger, CheckConstraint, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.chain.daily_limit import LeakyBucket
from backend.kit.db import Base, CreatedAt, Id, Money, Time
from backend.kit.token import Token


class Program(Base):
    """Everything the operator's side knows of a deployment, and how far its chain has been
    booked."""

    __tablename__ = "program"
    __table_args__ = (
        UniqueConstraint("chain_id", "distributor"),
        CheckConstraint("batch_items_max > 0", name="batch_items_max"),
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(String(64), unique=True)
    chain_id: Mapped[int] = mapped_column(BigInteger)
    distributor: Mapped[str] = mapped_column(String(42))
    token: Mapped[str] = mapped_column(String(42))
    token_symbol: Mapped[str | None] = mapped_column(String(64))
    """As the token says, cleaned of what cannot be shown; None if it says nothing."""
    token_decimals: Mapped[int | None]
    """How many decimal digits a whole token has; None if the token does not say."""
    verifier: Mapped[str] = mapped_column(String(42))
    instance: Mapped[str] = mapped_column(String(32))
    families: Mapped[int]
    families_first: Mapped[int]
    """How many families there were at first. An account that was opened then may be of another
    family today than its bucket."""
    attestors: Mapped[list[str]] = mapped_column(JSON)
    """Base URLs of the attestors; who they are is the chain's to say."""
    finality: Mapped[str] = mapped_column(String(32))
    """`latest`, `safe`, `finalized`, or a number of confirmations: what is booked as done."""
    batch_items_max: Mapped[int]
    batch_age_max_seconds: Mapped[int]
    last_indexed_block: Mapped[int]
    """The chain is booked up to this block, whose hash is `last_indexed_block_hash`."""
    last_indexed_block_hash: Mapped[bytes]
    daily_limit: Mapped[Money] = mapped_column(default=0)
    """Base units that batches may commit in a day, 0 for no limit, up to the last indexed block."""
    limit_used: Mapped[Money] = mapped_column(default=0)
    """What was used of it at `limit_updated_at`, in base units times the seconds of a day."""
    limit_updated_at: Mapped[int] = mapped_column(BigInteger, default=0)
    """Unix seconds, by the chain's clock."""
    halted: Mapped[str | None]
    """Why nothing more is batched or booked, e.g. a block that was final has changed. An operator
    decides; `backend.program.halts` says what others are told."""
    halt_told_at: Mapped[Time | None]
    """When the log last said that the program is halted."""
    created_at: Mapped[CreatedAt]

    @property
    def limit(self) -> LeakyBucket:
        """The daily limit up to the last indexed block."""
        return LeakyBucket(self.daily_limit, self.limit_used, self.limit_updated_at)

    @limit.setter
    def limit(self, bucket: LeakyBucket) -> None:
        self.daily_limit, self.limit_used = bucket.per_day, bucket.used
        self.limit_updated_at = bucket.updated_at

    @property
    def reward_token(self) -> Token:
        """The token, for showing amounts."""
        return Token(self.token, self.token_symbol, self.token_decimals)

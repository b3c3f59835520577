"""What each of the operator's keys has for gas, and how long that lasts."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from backend.chain.models import OutgoingTransaction
from backend.errors import NotYet
from backend.kit.token import whole_tokens
from backend.signer.base import SignerError
from backend.signer.factory import open_signer

if TYPE_CHECKING:
    from backend.config import Settings
    from backend.context import Context

COIN_DECIMALS = 18
"""Of the coin that pays for gas, on every EVM chain."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a key is for, where it is, and the gas of one of its transactions as long as it has sent
    none: the most that docs/GAS.md measures, rounded up."""

    name: str
    keystore: Path
    gas_each: int


@dataclass(frozen=True, slots=True)
class GasMoney:
    """What a role's key has, in wei.

    `transactions_left`: how many transactions of `gas_each` the balance pays for, at
    `fee_per_gas_wei`. `problem`: why the key cannot be opened, or what it needs.
    """

    role: str
    keystore: str
    address: str | None = None
    balance_wei: int | None = None
    gas_each: int | None = None
    fee_per_gas_wei: int | None = None
    transactions_left: int | None = None
    problem: str | None = None

    def to_json(self) -> dict[str, object]:
        """Plain data: wei as decimal texts."""
        wei = {"balance_wei": self.balance_wei, "fee_per_gas_wei": self.fee_per_gas_wei}
        texts = {name: None if value is None else str(value) for name, value in wei.items()}
        return asdict(self) | texts

    def shown(self) -> dict[str, object]:
        """What a table shows."""
        balance = None if self.balance_wei is None else coins(self.balance_wei)
        return {
            "role": self.role,
            "address": self.address,
            "balance": balance,
            "transactions_left": self.transactions_left,
            "problem": self.problem,
        }


def coins(wei: int) -> str:
    """An amount of the chain's coin."""
    return whole_tokens(wei, COIN_DECIMALS)


def roles(settings: "Settings") -> list[Role]:
    """The roles of the operator's keys that are set. One key may have several."""
    if settings.payer_keystore is None:
        found = [Role("posts batches, pushes claims", settings.keystore, 900_000)]
    else:
        found = [
            Role("posts batches", settings.keystore, 900_000),
            Role("pushes claims", settings.payer_keystore, 900_000),
        ]
    if settings.owner_keystore is not None:
        # Servers do without it.
        found.append(Role("deploys and funds", settings.owner_keystore, 9_000_000))
    return found


def gas_money(context: "Context") -> list[GasMoney]:
    """One for each role. Raises Unavailable."""
    try:
        fee = context.fees.quote(context.node).max_fee
    except NotYet:
        # Above the cap nothing is sent: what is sent later costs the cap at most.
        fee = context.fees.max_fee_cap
    password = context.settings.keystore_password.get_secret_value()
    opened: dict[Path, str | SignerError] = {}
    found = []
    for role in roles(context.settings):
        if role.keystore not in opened:
            try:
                opened[role.keystore] = open_signer(role.keystore, password).address
            except SignerError as error:
                opened[role.keystore] = error
        key = opened[role.keystore]
        if isinstance(key, SignerError):
            found.append(GasMoney(role.name, str(role.keystore), problem=str(key)))
        else:
            found.append(_money(context, role, key, fee))
    return found


def _money(context: "Context", role: Role, address: str, fee: int) -> GasMoney:
    balance = context.node.balance(address)
    # The most that one of the key's own transactions took, where there are some.
    each = _gas_used(context, address) or role.gas_each
    left = balance // (each * fee) if fee else None
    problem = f"send it {coins(each * fee - balance)} or more" if left == 0 else None
    return GasMoney(role.name, str(role.keystore), address, balance, each, fee, left, problem)


def _gas_used(context: "Context", address: str) -> int | None:
    """The most gas of the key's last hundred transactions on this chain; None before the first."""
    last = (
        select(OutgoingTransaction.gas_used)
        .where(
            OutgoingTransaction.chain_id == context.chain_id, OutgoingTransaction.sender == address
        )
        .order_by(OutgoingTransaction.nonce.desc())
        .limit(100)
        .subquery()
    )
    with context.database.transaction() as session:
        most: int | None = session.scalar(select(func.max(last.c.gas_used)))
    return most

"""What an audit hands back."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from backend.kit.token import Token


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation. `code` is stable; bucket, sequence and tx_hash (0x hex) name the batch or
    transaction where there is one."""

    code: str
    message: str
    bucket: int | None = None
    sequence: int | None = None
    tx_hash: str | None = None


@dataclass(slots=True)
class BatchReport:
    """One posted batch as the auditor saw it. `proof` and `attestations` are "ok", "bad" or
    "unchecked"."""

    bucket: int
    sequence: int
    tx_hash: str
    block_number: int
    total: int
    accounts_touched: int | None
    accounts_opened: int | None
    proof: str = "unchecked"
    attestations: str = "unchecked"
    signers: int = 0


@dataclass
class AuditReport:
    """The outcome. `checks` counts what was looked at, by name; `ok` only if no finding stands
    against it.

    Amounts (`totals`, each batch's total) are integers in base units here and decimal strings in
    `to_json`.
    """

    chain_id: int
    distributor: str
    first_block: int
    last_block: int
    token: Token | None = None
    verifier: str | None = None
    key_digest: str | None = None
    checks: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)
    """committed, claimed, reserve: as rebuilt from the log; the reserve is the token balance."""
    accounts: int = 0
    batches: list[BatchReport] = field(default_factory=list)
    last_block_time: int = 0
    """Unix seconds, by the chain's clock."""
    age_seconds: int = 0
    """How old the last block was when the audit began, by this machine's clock."""

    @property
    def ok(self) -> bool:
        """Everything that was to be checked was, and holds."""
        return not self.findings

    def find(self, code: str, message: str, **where: Any) -> None:
        """Add a finding; `where` may name bucket, sequence and tx_hash (bytes)."""
        tx_hash = where.pop("tx_hash", None)
        self.findings.append(
            Finding(
                code,
                message,
                tx_hash=None if tx_hash is None else "0x" + bytes(tx_hash).hex(),
                **where,
            )
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`: amounts as decimal strings."""
        batches = [{**asdict(batch), "total": str(batch.total)} for batch in self.batches]
        return {
            "ok": self.ok,
            "chain_id": self.chain_id,
            "distributor": self.distributor,
            "token": self.token and self.token.address,
            "token_symbol": self.token and self.token.symbol,
            "token_decimals": self.token and self.token.decimals,
            "verifier": self.verifier,
            "key_digest": self.key_digest,
            "first_block": self.first_block,
            "last_block": self.last_block,
            "last_block_time": self.last_block_time,
            "age_seconds": self.age_seconds,
            "accounts": self.accounts,
            "batches": batches,
            "totals": {name: str(amount) for name, amount in self.totals.items()},
            "checks": dict(self.checks),
            "findings": [asdict(finding) for finding in self.findings],
        }

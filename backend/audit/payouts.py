"""Where each claim went: that the token moved what the log says to whom it says, and that another
recipient than the account is the account's own will.

The account's will is its own call of `claimTo`, or its permission in such a call's calldata: a
signature that counts as the account's.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from eth_utils.address import to_canonical_address, to_checksum_address

from backend.audit.attestations import signed
from backend.audit.posting import TRACE_ADVICE
from backend.audit.report import AuditReport
from backend.chain import erc20
from backend.chain.calldata import Attestation, ClaimToCall, find_claims_to
from backend.chain.events import Claimed
from backend.chain.logs import fetch_logs
from backend.chain.node import Node
from backend.chain.signatures import StateMissing, is_accounts
from prover.eip712 import Domain, claim_to_digest

CANDIDATES_MAX = 64
"""Calls in a wrapper's calldata whose permissions are looked at."""


class PayoutCheck:
    """Checks the claims of one Distributor against its token's log and against the transactions."""

    def __init__(self, node: Node, domain: Domain, token: str, report: AuditReport) -> None:
        self.node, self.domain, self.token, self.report = node, domain, token, report

    def check(
        self, claims: Sequence[Claimed], first: int, last: int, done: Callable[[], None]
    ) -> None:
        """Findings go to the report. `done` is called after each claim."""
        paid = self._paid(first, last) if claims else Counter()
        for claim in claims:
            payment = (claim.tx_hash, claim.recipient, claim.amount)
            self.report.checks["payouts"] += 1
            if paid[payment] == 0:
                self._find(
                    claim,
                    "claim_not_paid",
                    f"the log says that {claim.recipient} was paid {claim.amount} base units, and "
                    "the token's log has no such transfer",
                )
            paid[payment] -= 1
            if claim.recipient != claim.account:
                self.report.checks["recipients"] += 1
                self._require_will(claim)
            done()

    def _paid(self, first: int, last: int) -> Counter[tuple[bytes, str, int]]:
        """(transaction, recipient, amount) of what the token moved out of the Distributor."""
        own = to_canonical_address(self.domain.distributor).rjust(32, b"\0")
        topics = [erc20.TRANSFER, own]
        return Counter(
            (log.tx_hash, to_checksum_address(log.topics[2][12:]), int.from_bytes(log.data, "big"))
            for log in fetch_logs(self.node, self.token, topics, first, last)
            if len(log.topics) == 3 and len(log.data) == 32
        )

    def _require_will(self, claim: Claimed) -> None:
        """Whether the account wanted its amount paid to another recipient."""
        sent = self.node.transaction(claim.tx_hash)
        direct = sent is not None and sent.to == self.domain.distributor
        data = b"" if sent is None else sent.data
        calls = [(sent.sender, call) for call in _fitting(data, claim)] if sent and direct else []
        where = f"slot {claim.slot}: {claim.account}'s claim was paid to {claim.recipient}"
        if not calls:
            frames = self.node.trace(claim.tx_hash, self.domain.distributor)
            if frames is None and not direct:
                self._require_seen(claim, data, where)
                return
            calls = [
                (frame.sender, call)
                for frame in frames or ()
                if frame.kind == "CALL"
                for call in _fitting(frame.data, claim)
            ]
        if not any(sender == claim.account or self._permits(claim, call) for sender, call in calls):
            self._find(
                claim, "recipient_foreign", f"{where}, which it neither called for nor signed"
            )

    def _require_seen(self, claim: Claimed, data: bytes, where: str) -> None:
        """Without a trace: a permission in a wrapper's calldata shows the will, its absence
        nothing."""
        guessed = islice(_fitting(data, claim, whole=False), CANDIDATES_MAX)
        if not any(self._permits(claim, call) for call in guessed):
            self._find(
                claim,
                "recipient_unchecked",
                f"{where} through another contract, and its will is not in the calldata: "
                f"{TRACE_ADVICE}",
            )

    def _permits(self, claim: Claimed, call: ClaimToCall) -> bool:
        digest = claim_to_digest(
            self.domain, call.bucket, call.slot, call.cumulative, call.recipient, call.deadline
        )
        permission = Attestation(claim.account, call.permission)
        try:
            return signed(self.node, is_accounts, digest, permission, claim.block_number)
        except StateMissing:
            return False

    def _find(self, claim: Claimed, code: str, message: str) -> None:
        self.report.find(code, message, bucket=claim.bucket, tx_hash=claim.tx_hash)


def _fitting(data: bytes, claim: Claimed, *, whole: bool = True) -> Iterator[ClaimToCall]:
    """The `claimTo` calls in calldata, or the one that it is, that could have made this claim."""
    for call in find_claims_to(data, whole=whole):
        if (call.bucket, call.slot, call.account, call.recipient) == (
            claim.bucket,
            claim.slot,
            claim.account,
            claim.recipient,
        ):
            yield call

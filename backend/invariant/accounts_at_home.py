"""Every account is in a bucket of its family, slots have no gaps, and buckets fill in order.

A bucket is opened only when the lower buckets of its family are full. The number of families is a
power of two that only rises, so bucket and account agree modulo the first number at all times,
whenever the account was opened.
"""

from collections import defaultdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.account.models import Account
from backend.invariant.checkpoint import Checked
from backend.program.models import Program
from prover.circuit import load_instance
from prover.state import family


def check(session: Session, program: Program, checked: Checked) -> list[str]:
    """All rules of this file."""
    slots = load_instance(program.instance).slots
    findings: list[str] = []
    used: dict[int, list[int]] = defaultdict(list)
    query = select(Account.address, Account.bucket, Account.slot).where(
        Account.program_id == program.id
    )
    for address, bucket, slot in session.execute(query.order_by(Account.bucket, Account.slot)):
        used[bucket].append(slot)
        first = program.families_first
        if family(int(address, 16), first) != bucket % first:
            findings.append(f"{address} is not of the family of bucket {bucket}")
    for bucket, taken in used.items():
        if taken != list(range(len(taken))) or len(taken) > slots:
            findings.append(
                f"the slots in use of bucket {bucket} are not 0 to {len(taken) - 1} of {slots}"
            )
        if bucket >= program.families and len(used.get(bucket - program.families, ())) != slots:
            findings.append(
                f"bucket {bucket} was opened before bucket {bucket - program.families} was full"
            )
    return findings

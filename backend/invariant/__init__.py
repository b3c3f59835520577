"""Invariants: what must hold in the database, and against the chain, at any committed moment.

One file a rule, each with `check(session, program, checked) -> list[str]`, one sentence for each
violation. On a schedule the rules read what is new since the last run, and from time to time
everything. A violation halts the program, and an operator investigates.
"""

from sqlalchemy.orm import Session

from backend.chain.distributor import Totals
from backend.context import Context
from backend.invariant import (
    accounts_at_home,
    batches_follow,
    chain_totals,
    checkpoint,
    claims_covered,
    interactions_booked,
    ledger_balanced,
    ledger_chained,
    rewards_covered,
)
from backend.invariant.checkpoint import NOTHING, Checked
from backend.program.models import Program

RULES = (
    ledger_balanced,
    rewards_covered,
    ledger_chained,
    interactions_booked,
    batches_follow,
    accounts_at_home,
    claims_covered,
)


def check_all(
    session: Session, program: Program, totals: Totals | None = None, checked: Checked = NOTHING
) -> list[str]:
    """All violations of a program's invariants; empty if they hold.

    `totals`: the chain's, at the program's `last_indexed_block`. Rows that are written once and
    were `checked` before are not read again. `session` should read one snapshot
    (`Database.snapshot`): otherwise rows that are booked meanwhile look like a violation.
    """
    findings = [
        f"{rule.__name__.rpartition('.')[2]}: {finding}"
        for rule in RULES
        for finding in rule.check(session, program, checked)
    ]
    if totals is not None:
        findings += [
            f"chain_totals: {finding}" for finding in chain_totals.check(session, program, totals)
        ]
    return findings


def check_with_chain(context: Context, program_id: int) -> list[str]:
    """`check_all` with the chain's totals at the last indexed block. Raises Unavailable."""
    with context.database.snapshot() as session:
        program = session.get_one(Program, program_id)
        return check_all(
            session, program, context.distributor(program).totals(program.last_indexed_block)
        )


def check_on_schedule(context: Context, program_id: int) -> list[str]:
    """As `check_with_chain`, from where the last run without findings ended.

    Once in `invariants_full_seconds` it starts at the beginning.
    """
    with context.database.snapshot() as session:
        program = session.get_one(Program, program_id)
        begun = checkpoint.load(session, program_id, context.settings.invariants_full_seconds)
        now = checkpoint.reached(session, program_id)
        findings = check_all(
            session, program, context.distributor(program).totals(program.last_indexed_block), begun
        )
    if not findings:
        with context.database.transaction() as session:
            checkpoint.store(session, program_id, begun, now)
    return findings

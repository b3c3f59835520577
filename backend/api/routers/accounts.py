"""Accounts over HTTP: balances, and the call that claims."""

from typing import TypeVar

from fastapi import APIRouter

from backend.api.dependencies import Using
from backend.api.schemas.account import AccountOut, ClaimOut
from backend.api.schemas.error import ERRORS, errors
from backend.api.schemas.token import token_fields
from backend.errors import Conflict, Invalid
from backend.partner.report import address_fault, to_checksum
from backend.payout import service
from backend.program import repository as programs
from backend.program.models import Program

router = APIRouter(prefix="/v1/programs/{program}/accounts", tags=["accounts"], responses=ERRORS)

Answer = TypeVar("Answer", AccountOut, ClaimOut)


def _address(text: str) -> str:
    if fault := address_fault(text):
        raise Invalid(fault, "address")
    return to_checksum(text)


@router.get("/{address}", responses=errors("invalid"), summary="Read an account's balances")
def read_account(program: str, address: str, using: Using) -> AccountOut:
    """Returns what the address has earned, and how much of that is pending, claimable, being
    claimed and claimed.

    An unknown address has earned 0.
    """
    with using.database.snapshot() as session:
        row = programs.get(session, program)
        standing = service.standing(session, row, _address(address))
    out = AccountOut(**vars(standing), **token_fields(row).model_dump())
    place = (standing.bucket, standing.slot)
    # The session has ended: a node that is slow holds no connection of the database.
    return _with_claims(using, row, place, standing.claimable + standing.claimed, out)


@router.get(
    "/{address}/claim",
    responses=errors("nothing_posted", "nothing_to_claim", "claim_not_final", "invalid"),
    summary="Get the call that claims",
)
def read_claim(program: str, address: str, using: Using) -> ClaimOut:
    """Returns the arguments of `claim`, and ready calldata.

    Anyone may send the call; it pays the account. The call stays valid when another batch is
    posted. A claim that the chain has is not offered again, whether or not it is final.
    """
    with using.database.snapshot() as session:
        row = programs.get(session, program)
        call = service.claim_call(session, row, _address(address))
    out = ClaimOut(**vars(call), **token_fields(row).model_dump())
    out = _with_claims(using, row, (call.bucket, call.slot), call.cumulative, out)
    if out.claimable == "0":
        raise Conflict(
            f"{call.account} has claimed everything that is on chain: the claim is seen at block "
            f"{out.seen_at_block}, and is not final yet",
            "address",
            "claim_not_final",
        )
    return out


def _with_claims(
    using: Using, program: Program, place: tuple[int | None, int | None], posted: int, out: Answer
) -> Answer:
    """The answer, less what the chain has paid of `posted` in blocks that are not final."""
    bucket, slot = place
    if bucket is None or slot is None or out.claimable == "0":
        return out
    seen = using.claims.look(program, bucket, slot)
    if seen is None:
        return out
    # The node may be behind the ledger, or ahead of it by a batch.
    left = max(0, min(int(out.claimable), posted - seen.claimed))
    claiming = int(out.claimable) - left
    changed = {"claimable": str(left), "claiming": str(claiming), "seen_at_block": seen.block}
    return out.model_copy(update=changed)

"""Accounts over HTTP: balances, and the call that claims."""

from fastapi import APIRouter

from backend.api.dependencies import Snapshot
from backend.api.schemas.account import AccountOut, ClaimOut
from backend.api.schemas.error import ERRORS, errors
from backend.api.schemas.token import token_fields
from backend.errors import Invalid
from backend.partner.report import address_fault, to_checksum
from backend.payout import service
from backend.program import repository as programs

router = APIRouter(prefix="/v1/programs/{program}/accounts", tags=["accounts"], responses=ERRORS)


def _address(text: str) -> str:
    if fault := address_fault(text):
        raise Invalid(fault, "address")
    return to_checksum(text)


@router.get("/{address}", responses=errors("invalid"), summary="Read an account's balances")
def read_account(program: str, address: str, session: Snapshot) -> AccountOut:
    """Returns what the address has earned, and how much of that is pending, claimable and claimed.

    An unknown address has earned 0.
    """
    row = programs.get(session, program)
    standing = service.standing(session, row, _address(address))
    return AccountOut(**vars(standing), **token_fields(row).model_dump())


@router.get(
    "/{address}/claim",
    responses=errors("nothing_posted", "nothing_to_claim", "invalid"),
    summary="Get the call that claims",
)
def read_claim(program: str, address: str, session: Snapshot) -> ClaimOut:
    """Returns the arguments of `claim`, and ready calldata.

    Anyone may send the call; it pays the account. The call stays valid when another batch is
    posted.
    """
    row = programs.get(session, program)
    call = service.claim_call(session, row, _address(address))
    return ClaimOut(**vars(call), **token_fields(row).model_dump())

"""Accounts over HTTP: how they stand, and the call that claims."""

from fastapi import APIRouter, Request

from backend.api.schemas.account import AccountOut, ClaimOut
from backend.errors import Invalid
from backend.interaction.report import address_fault, to_checksum
from backend.payout import service
from backend.program import repository as programs

router = APIRouter(prefix="/v1/programs/{program}/accounts", tags=["accounts"])


def _address(text: str) -> str:
    if fault := address_fault(text):
        raise Invalid(fault, "address")
    return to_checksum(text)


@router.get("/{address}", response_model=AccountOut, summary="What an address has earned")
def read_account(program: str, address: str, request: Request) -> AccountOut:
    """Earned, pending with the reason, claimable now, claimed. An address that is not known has
    earned 0."""
    checksummed = _address(address)
    with request.app.state.database.snapshot() as session:
        standing = service.standing(session, programs.get(session, program), checksummed)
    return AccountOut(
        address=checksummed,
        **{name: getattr(standing, name) for name in AccountOut.model_fields if name != "address"},
    )


@router.get("/{address}/claim", response_model=ClaimOut, summary="The call that claims")
def read_claim(program: str, address: str, request: Request) -> ClaimOut:
    """All that `claim` needs, and ready calldata. Anyone may send it; it pays the account. A batch
    that lands meanwhile does not break it."""
    checksummed = _address(address)
    with request.app.state.database.snapshot() as session:
        row = programs.get(session, program)
        call = service.claim_call(session, row, checksummed)
        fields = {
            name: getattr(call, name)
            for name in ClaimOut.model_fields
            if name not in ("chain_id", "to")
        }
        return ClaimOut(chain_id=row.chain_id, to=row.distributor, **fields)

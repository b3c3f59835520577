"""The reward token beside amounts, so that a reader can show them."""

from backend.kit.schema import Out
from backend.program.models import Program


class TokenFields(Out):
    """The token whose base units the amounts are. Symbol and decimals are what the token's contract
    says, null where it says nothing: a whole token is 10^`token_decimals` base units."""

    token: str
    token_symbol: str | None
    token_decimals: int | None


def token_fields(program: Program) -> TokenFields:
    """A program's token."""
    return TokenFields.model_validate(program, from_attributes=True)

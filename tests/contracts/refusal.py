"""Which custom error a call is refused by.

`ape.reverts` passes when the error cannot be decoded, so this asks the node itself and decodes
against the contract's ABI.
"""

from typing import Any

from ape import networks
from eth_abi import decode
from eth_utils import keccak
from web3.exceptions import ContractLogicError


def decode_error(contract: Any, data: bytes) -> tuple[Any, ...]:
    """(name, arguments...) of revert data. Raises AssertionError if the contract has no such
    error."""
    for error in contract.contract_type.errors:
        if keccak(text=error.selector)[:4] == data[:4]:
            return error.name, *decode(
                [argument.canonical_type for argument in error.inputs], data[4:]
            )
    raise AssertionError(
        f"reverted with {data.hex() or 'no data'}, which is no error of "
        f"{contract.contract_type.name}"
    )


def refusal(method: Any, *args: Any, sender: Any = None) -> tuple[Any, ...]:
    """(name, arguments...) of the custom error that a call now would be refused by. Raises
    AssertionError if it would go through."""
    contract = method.contract
    call = {"to": contract.address, "data": method.encode_input(*args), "gas": 20_000_000}
    if sender is not None:
        call["from"] = sender.address
    try:
        networks.provider.web3.eth.call(call)
    except ContractLogicError as error:
        return decode_error(contract, bytes.fromhex(str(error.data or "0x").removeprefix("0x")))
    raise AssertionError(f"{contract.contract_type.name}.{method} went through")


def refused(name: str, method: Any, *args: Any, sender: Any = None) -> tuple[Any, ...]:
    """Assert that a call now is refused by the error called `name`. Returns the error's
    arguments."""
    found, *arguments = refusal(method, *args, sender=sender)
    assert found == name, f"expected {name}, was refused by {found}{tuple(arguments)}"
    return tuple(arguments)

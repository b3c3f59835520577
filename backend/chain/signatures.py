"""Whose signature counts, by the code of the signer's address: the rule of Signatures.sol.

- No code: ECDSA.
- A delegation (EIP-7702): ECDSA, and for the permission of an account, if that fails, EIP-1271.
- Other code: EIP-1271.

A delegated attestor signs with its key only, so that no delegate can accept a signature in a
simulation and refuse it in a block.
"""

from eth_abi import encode
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from backend.chain.node import BlockId, CallReverted, Node, NodeRefused
from backend.errors import Unavailable

CHECK_GAS = 500_000
"""Gas that the Distributor gives one EIP-1271 call."""
EIP1271_MAGIC = bytes.fromhex("1626ba7e")
"""Selector of isValidSignature(bytes32,bytes), which is also the answer that accepts."""
CONTRACT_SIGNATURE_BYTES_MAX = 40_000
"""Longer signatures of contracts are not looked at, here alone: a node runs no larger creation
code (EIP-3860)."""
HALF_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2
"""s values above half the order of secp256k1 are the second form of another signature (EIP-2)."""


class StateMissing(Unavailable):
    """The node answers, but does not have the state of the block asked about.

    Most often it has dropped the state of old blocks.
    """

    code = "state_missing"


def is_attestors(
    node: Node, signer: str, digest: bytes, signature: bytes, block: BlockId = "latest"
) -> bool:
    """Whether an attestor has signed a digest, by the state after `block`.

    Raises:
        StateMissing: the node cannot say, as it does not have the state of that block.
        Unavailable: the node does not answer.
    """
    if is_contract(_code(node, signer, block)):
        return _is_accepted(node, signer, digest, signature, block)
    return recover(digest, signature) == signer


def is_accounts(
    node: Node, account: str, digest: bytes, signature: bytes, block: BlockId = "latest"
) -> bool:
    """Whether an account has signed a digest, by the state after `block`. Raises as
    `is_attestors`."""
    code = _code(node, account, block)
    if not is_contract(code) and recover(digest, signature) == account:
        return True
    return bool(code) and _is_accepted(node, account, digest, signature, block)


def is_delegated(code: bytes) -> bool:
    """Whether an address with this code has delegated it (EIP-7702). No contract can be created
    with code that begins with 0xef (EIP-3541)."""
    return len(code) == 23 and code.startswith(b"\xef\x01\x00")


def is_contract(code: bytes) -> bool:
    """Whether an address with this code answers by EIP-1271 alone. Its answer can change; a key's
    signature cannot."""
    return bool(code) and not is_delegated(code)


def recover(digest: bytes, signature: bytes) -> str | None:
    """Whose key has signed, checksummed, if one has: 65 bytes r || s || v, low s, v 27 or 28."""
    if len(signature) != 65 or signature[64] not in (27, 28):
        return None
    if int.from_bytes(signature[32:64], "big") > HALF_ORDER:
        return None
    try:
        found = Signature(signature[:64] + bytes([signature[64] - 27]))
        return found.recover_public_key_from_msg_hash(digest).to_checksum_address()
    except (BadSignature, ValidationError, ValueError):
        return None


def _code(node: Node, address: str, block: BlockId) -> bytes:
    try:
        return node.code(address, block)
    except NodeRefused as error:
        raise _missing(address, block, error) from error


def _is_accepted(
    node: Node, contract: str, digest: bytes, signature: bytes, block: BlockId
) -> bool:
    if len(signature) > CONTRACT_SIGNATURE_BYTES_MAX:
        return False
    data = EIP1271_MAGIC + encode(["bytes32", "bytes"], [digest, signature])
    # As much as the code itself needs at most, and the part that a call cannot pass on.
    gas = 2 * CHECK_GAS + 50 * len(data)
    try:
        answer = node.call(None, _static_call(contract, data), block, gas=gas)
    except (CallReverted, NodeRefused) as error:
        raise _missing(contract, block, error) from error
    return answer == (1).to_bytes(32, "big")


def _static_call(contract: str, data: bytes) -> bytes:
    """Creation code that calls a contract as the Distributor does, and returns 1 if that accepts,
    else 0.

    A plain eth_call would let the contract write, as STATICCALL does not, and would carry all of
    its answer. Instructions of Byzantium alone, so that any chain runs it.
    """
    size = len(data).to_bytes(3, "big").hex()
    code = bytes.fromhex(
        f"62{size} 6000 6000 39"  # CODECOPY(0, length of this code, size)
        f"6020 6000 62{size} 6000 73{contract[2:]} 62{CHECK_GAS:06x} fa"  # STATICCALL
        "601f 3d 11 16"  # RETURNDATASIZE > 31
        f"6000 51 7f{EIP1271_MAGIC.hex():0<64} 14 16"  # the word is the answer
        "6000 52 6020 6000 f3"
    )
    return code[:5] + bytes([len(code)]) + code[6:] + data


def _missing(address: str, block: BlockId, error: CallReverted | NodeRefused) -> StateMissing:
    return StateMissing(
        f"the node cannot say whether {address} accepts a signature at block {block} "
        f"({error.message}): ask a node that holds the state of that block (an archive node)"
    )

"""A contract's word on a signature (EIP-1271)."""

from eth_abi import encode

from backend.chain.node import BlockId, CallReverted, Node, NodeRefused
from backend.errors import Unavailable

EIP1271_MAGIC = bytes.fromhex("1626ba7e")


class StateMissing(Unavailable):
    """The node answers, but cannot run a call at the block asked for.

    Most often it has dropped the state of old blocks.
    """

    code = "state_missing"


def accepts_signature(
    node: Node, wallet: str, digest: bytes, signature: bytes, block: BlockId = "latest"
) -> bool:
    """Whether the contract at `wallet` takes the signature for its own (EIP-1271).

    False for an address that is no such contract.

    Raises:
        StateMissing: the node cannot say, as it does not have the state of that block.
        Unavailable: the node does not answer.
    """
    data = EIP1271_MAGIC + encode(["bytes32", "bytes"], [digest, signature])
    try:
        answer = node.call(wallet, data, block)
    except CallReverted:
        return False
    except NodeRefused as error:
        raise StateMissing(
            f"the node cannot ask {wallet} for its word on a signature at block {block} "
            f"({error.message}): ask a node that holds the state of that block (an archive node)"
        ) from error
    return answer[:32] == EIP1271_MAGIC.ljust(32, b"\0")

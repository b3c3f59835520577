"""What only a development chain can do."""

from backend.chain.node import Node
from backend.errors import Conflict
from prover.keys import LOCAL_CHAIN_IDS


def is_local(chain_id: int) -> bool:
    """Whether it is an id of local chains."""
    return chain_id in LOCAL_CHAIN_IDS


def require_local(node: Node) -> int:
    """The chain's id. Raises Conflict unless it is an id of local chains.

    Play money stays on play chains.
    """
    chain_id = node.chain_id()
    if chain_id not in LOCAL_CHAIN_IDS:
        raise Conflict(
            f"chain {chain_id} is not a local development chain (expected "
            f"{sorted(LOCAL_CHAIN_IDS)})",
            "rpc_url",
        )
    return chain_id


def give_ether(node: Node, address: str, wei: int) -> None:
    """Set an address's balance (anvil_setBalance). Raises Conflict if the node is not Anvil."""
    answer = node.request("anvil_setBalance", [address, hex(wei)])
    if "error" in answer:
        raise Conflict(
            f"the node cannot give ether: {answer['error'].get('message')}: is it Anvil?", "rpc_url"
        )

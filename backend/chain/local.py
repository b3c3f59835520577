"""What only a development chain can do."""

from web3 import Web3

from backend.chain.client import reading
from backend.errors import Conflict
from prover.keys import LOCAL_CHAIN_IDS


def require_local(w3: Web3) -> int:
    """The chain's id. Raises Conflict unless it is one of the ids of local chains: play money stays
    on play chains."""
    chain_id = reading("chain id", lambda: w3.eth.chain_id)
    if chain_id not in LOCAL_CHAIN_IDS:
        raise Conflict(
            f"chain {chain_id} is not a local development chain (expected "
            f"{sorted(LOCAL_CHAIN_IDS)})",
            "rpc_url",
        )
    return chain_id


def give_ether(w3: Web3, address: str, wei: int) -> None:
    """Set an address's balance (anvil_setBalance). Raises Conflict if the node is not Anvil."""
    answer = reading(
        "anvil_setBalance",
        lambda: w3.provider.make_request("anvil_setBalance", [address, hex(wei)]),
    )
    if "error" in answer:
        raise Conflict(
            f"the node cannot give ether: {answer['error'].get('message')}: is it Anvil?", "rpc_url"
        )

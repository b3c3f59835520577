"""What an attestor reads of the chain, through a node of its own choice. Tests put another chain
behind the same few calls."""

from dataclasses import dataclass
from typing import Protocol

from backend.attestor.errors import Halted
from backend.attestor.store import Landed
from backend.chain.distributor import Distributor
from backend.chain.events import BatchPosted, Unreadable
from backend.chain.finality import final_block
from backend.chain.node import Block, Node
from backend.chain.web3_node import connect
from prover.eip712 import DOMAIN_VERSION


@dataclass(frozen=True)
class Shape:
    """What never changes in a program's life."""

    chain_id: int
    levels: int
    slots: int
    version: str = DOMAIN_VERSION
    """The edition: the version of the EIP-712 domain."""


@dataclass(frozen=True)
class AttestorSet:
    """Who may attest (checksummed addresses), the epoch that batches must name, and the number of
    account families, which changes with the epoch only."""

    addresses: frozenset[str]
    epoch: int
    families: int = 1

    def ends(self, distributor: str) -> bool:
        """Whether no batch can land under this set: its only member is the Distributor, which
        accepts no signature."""
        return self.addresses == {distributor}


class ChainView(Protocol):
    """One program on its chain. Every call raises Unavailable if the node cannot answer."""

    def shape(self) -> Shape: ...

    def final(self) -> Block: ...

    def block(self, which: int | str) -> Block: ...

    def batches(self, first_block: int, last_block: int) -> list[Landed]:
        """The BatchPosted logs, in chain order. Raises Halted for one that cannot be read."""
        ...

    def attestors(self, block_number: int) -> AttestorSet: ...


class LazyClient:
    """A connection to `rpc_url`, made at first use, so that an attestor starts while its node is
    down."""

    def __init__(self, rpc_url: str) -> None:
        self._rpc_url = rpc_url
        self._client: Node | None = None

    def __call__(self) -> Node:
        if self._client is None:
            self._client = connect(self._rpc_url)
        return self._client


class NodeView:
    """A ChainView over JSON-RPC."""

    def __init__(self, client: LazyClient, distributor: str, finality: str) -> None:
        self._client = client
        self._address = distributor
        self._finality = finality

    def _distributor(self) -> Distributor:
        return Distributor(self._client(), self._address)

    def shape(self) -> Shape:
        info = self._distributor().info()
        return Shape(info.chain_id, info.levels, info.slots, info.version)

    def final(self) -> Block:
        return final_block(self._client(), self._finality)

    def block(self, which: int | str) -> Block:
        return self._client().block(which)

    def batches(self, first_block: int, last_block: int) -> list[Landed]:
        events = self._distributor().events(first_block, last_block)
        if unreadable := next((event for event in events if isinstance(event, Unreadable)), None):
            raise Halted(
                f"block {unreadable.block_number} holds a log of the program that cannot be read"
            )
        return [
            Landed(
                e.bucket,
                e.sequence,
                e.block_number,
                e.log_index,
                e.new_root,
                e.interactions_root,
                e.deltas,
            )
            for e in events
            if isinstance(e, BatchPosted)
        ]

    def attestors(self, block_number: int) -> AttestorSet:
        distributor = self._distributor()
        addresses, _, epoch = distributor.attestors(block_number)
        return AttestorSet(frozenset(addresses), epoch, distributor.families(block_number))

"""What the backend asks of a chain's node: a Protocol of the calls used, with plain typed values.

`Web3Node` (web3_node.py) is the implementation over JSON-RPC. Addresses are checksummed (EIP-55),
hashes and data are bytes, amounts are integers in wei, times are Unix seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from backend.errors import GuerdonError, Unavailable

BlockId = int | str
"""A block's number, its 0x-prefixed hash, or a tag ("latest", "safe", "finalized")."""


class NodeRefused(Unavailable):
    """The node answered a question with an error."""

    code = "node_refused"


class TooMuchAsked(NodeRefused):
    """The node finds the range, or the answer, too large: ask for less."""

    code = "node_too_much_asked"


class RateLimited(Unavailable):
    """The node answers, but not this often. `retry_after_seconds` is what it asks for, if it says
    so."""

    code = "node_rate_limited"

    def __init__(self, message: str, retry_after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class BadAnswer(Unavailable):
    """What came back is no answer of an Ethereum node: a web page, an empty list, a wrong type."""

    code = "node_bad_answer"


class CallReverted(GuerdonError):
    """The contract refused a call. `data` is the revert data, `said` the node's own words."""

    code = "call_reverted"

    def __init__(self, what: str, data: bytes, said: str) -> None:
        super().__init__(f"{what}: {said}")
        self.data, self.said = data, said


@dataclass(frozen=True, slots=True)
class Block:
    """A block's header: number, 32-byte hash, Unix seconds."""

    number: int
    hash: bytes
    timestamp: int


@dataclass(frozen=True, slots=True)
class Log:
    """One log of a mined transaction, and its place on chain."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    block_hash: bytes
    tx_hash: bytes
    log_index: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a mined transaction. `status` is 1 if it executed, 0 if it reverted."""

    tx_hash: bytes
    block_number: int
    block_hash: bytes
    status: int
    gas_used: int
    created: str | None
    """The contract that the transaction created itself, if any."""
    logs: tuple[Log, ...]


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction as sent. `to` is None if it creates a contract; a pending one has no block."""

    to: str | None
    data: bytes
    block_number: int | None
    sender: str | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One call of a transaction, at any depth, that did not fail.

    `kind` is CALL, DELEGATECALL, CREATE, CREATE2, ... `sender` made it, where the node says so.
    """

    kind: str
    data: bytes
    sender: str | None = None


@dataclass(frozen=True, slots=True)
class FeeHistory:
    """Wei per gas: the next block's base fee, and the median priority fee of each last block.

    A block without transactions has a priority fee of 0. Some nodes name no priority fees.
    """

    next_base_fee: int
    priority_fees: tuple[int, ...]


class Node(Protocol):
    """One chain's node.

    Every method raises Unavailable if the node does not answer, RateLimited if it was asked too
    often, BadAnswer if something else answers in its place, and NodeRefused if it answers with an
    error. All are Unavailable.
    """

    def chain_id(self) -> int: ...

    def block_number(self) -> int:
        """The newest block's number."""
        ...

    def block(self, which: BlockId) -> Block: ...

    def code(self, address: str, block: BlockId = "latest") -> bytes:
        """Runtime code at `address`; empty if there is none."""
        ...

    def balance(self, address: str) -> int:
        """Wei that `address` holds at the newest block."""
        ...

    def transaction_count(self, address: str, block: BlockId = "latest") -> int:
        """How many nonces of `address` are used at `block`: the next nonce."""
        ...

    def call(
        self,
        to: str | None,
        data: bytes,
        block: BlockId = "latest",
        *,
        sender: str | None = None,
        value: int = 0,
        gas: int | None = None,
    ) -> bytes:
        """Run a call without a transaction, with at most `gas` if given. Raises CallReverted."""
        ...

    def estimate_gas(self, to: str | None, data: bytes, *, sender: str, value: int = 0) -> int:
        """Gas that a transaction would need on the newest block. Raises CallReverted."""
        ...

    def logs(
        self, address: str, topics: Sequence[bytes | None], first_block: int, last_block: int
    ) -> list[Log]:
        """One answer's logs of `address` in the range; None matches any topic.

        Logs that a reorg removed are left out. `backend.chain.logs.fetch_logs` splits a range that
        a node finds too large: TooMuchAsked.
        """
        ...

    def receipt(self, tx_hash: bytes) -> Receipt | None:
        """The receipt of a transaction that a block holds, or None."""
        ...

    def transaction(self, tx_hash: bytes) -> Transaction | None:
        """A transaction that the node knows, mined or pending, or None."""
        ...

    def trace(self, tx_hash: bytes, to: str) -> list[Frame] | None:
        """What a transaction called at `to`, or created there, in order, without what failed.

        None where the node does not trace the transaction, for whichever reason.
        """
        ...

    def fee_history(self, blocks: int) -> FeeHistory | None:
        """Fees of the last `blocks` blocks; None on a chain without base fees (before EIP-1559)."""
        ...

    def priority_fee(self) -> int | None:
        """Wei per gas that the node advises to offer to a block's proposer; None without advice."""
        ...

    def gas_price(self) -> int:
        """Wei per gas that the node advises to pay on a chain without base fees."""
        ...

    def send_raw(self, raw: bytes) -> None:
        """Broadcast signed bytes.

        Raises NodeRefused for a refusal, Unavailable where the outcome is unknown; neither message
        holds the node's URL.
        """
        ...

    def request(self, method: str, parameters: Sequence[Any]) -> Mapping[str, Any]:
        """The raw JSON-RPC answer, with a `result` or an `error`, for calls outside this list."""
        ...

"""One program's Distributor as seen through a node: its facts, its log, its calldata. Reading only;
no database.

Every method that asks the node raises Unavailable if it does not answer. Amounts are integers in
base units.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eth_abi.exceptions import DecodingError
from eth_utils import keccak, to_checksum_address
from requests.exceptions import RequestException
from web3 import Web3
from web3.contract import Contract
from web3.contract.contract import ContractFunction
from web3.exceptions import BadFunctionCallOutput, ContractLogicError, Web3Exception
from web3.types import BlockIdentifier, LogReceipt

from backend.chain import calldata
from backend.chain.artifacts import artifact
from backend.chain.client import reading
from backend.chain.events import (
    AttestorsChanged,
    BatchPosted,
    Claimed,
    Event,
    Funded,
    PayoutSkipped,
    Unreadable,
    Withdrawn,
)
from backend.chain.logs import Progress, fetch_logs
from backend.errors import GuerdonError, NotFound, Unavailable

TRANSFER = keccak(text="Transfer(address,address,uint256)")
ROOTS_KEPT = 16
"""Roots that the contract holds per bucket."""

_TOKEN_ABI = [
    {
        "type": "function",
        "name": "balanceOf",
        "stateMutability": "view",
        "inputs": [{"name": "account", "type": "address"}],
        "outputs": [{"name": "", "type": "uint256"}],
    },
    {
        "type": "event",
        "name": "Transfer",
        "anonymous": False,
        "inputs": [
            {"name": "from", "type": "address", "indexed": True},
            {"name": "to", "type": "address", "indexed": True},
            {"name": "value", "type": "uint256", "indexed": False},
        ],
    },
]


class NotADistributor(GuerdonError):
    """The contract at this address does not answer as a Distributor does."""

    code = "not_a_distributor"


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """What a program is: fixed for ever but for owner and guardian (address 0 for none)."""

    chain_id: int
    token: str
    verifier: str
    hasher: str
    levels: int
    slots: int
    families: int
    owner: str
    guardian: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Base units: earned by all accounts ever, paid to them ever, and held now."""

    committed: int
    claimed: int
    reserve: int


class Distributor:
    """The Distributor at `address`. `block` is a number, a hash or a tag everywhere."""

    post_batch = staticmethod(calldata.post_batch)
    claim = staticmethod(calldata.claim)
    claim_many = staticmethod(calldata.claim_many)
    claim_to = staticmethod(calldata.claim_to)
    decode_post_batch = staticmethod(calldata.decode_post_batch)

    def __init__(self, w3: Web3, address: str) -> None:
        """Raises ValueError if `address` is none, ArtifactError if the contracts are not
        compiled."""
        self.w3 = w3
        self.address = to_checksum_address(address)
        self._contract: Contract = w3.eth.contract(self.address, abi=artifact("Distributor").abi)

    def info(self, block: BlockIdentifier = "latest") -> ProgramInfo:
        """Raises NotADistributor for another contract or none."""
        view = self._contract.functions
        return ProgramInfo(
            chain_id=reading("chain id", lambda: self.w3.eth.chain_id),
            token=self._call(view.token(), block),
            verifier=self._call(view.verifier(), block),
            hasher=self._call(view.hasher(), block),
            levels=self._call(view.levels(), block),
            slots=self._call(view.slots(), block),
            families=self._call(view.families(), block),
            owner=self._call(view.owner(), block),
            guardian=self._call(view.guardian(), block),
        )

    @cached_property
    def token(self) -> str:
        """The reward token's address, which never changes."""
        return self._call(self._contract.functions.token(), "latest")

    def bucket(self, bucket: int, block: BlockIdentifier = "latest") -> tuple[int, int]:
        """(sequence of the last batch, slots in use)."""
        sequence, opened = self._call(self._contract.functions.buckets(bucket), block)
        return sequence, opened

    def root(self, bucket: int, sequence: int, block: BlockIdentifier = "latest") -> int:
        """The bucket's root after a batch. Raises NotFound unless it is among the last 16."""
        try:
            return self._contract.functions.root(bucket, sequence).call(block_identifier=block)
        except ContractLogicError as error:
            raise NotFound(
                f"bucket {bucket}: the root of sequence {sequence} is not kept", field="sequence"
            ) from error

    def claimed(self, bucket: int, slot: int, block: BlockIdentifier = "latest") -> int:
        """What the slot's account has been paid."""
        return self._call(self._contract.functions.claimed(bucket, slot), block)

    def attestors(self, block: BlockIdentifier = "latest") -> tuple[tuple[str, ...], int, int]:
        """(addresses ascending, how many must sign, epoch)."""
        view = self._contract.functions
        addresses = self._call(view.attestors(), block)
        return (
            tuple(addresses),
            self._call(view.threshold(), block),
            self._call(view.attestorEpoch(), block),
        )

    def totals(self, block: BlockIdentifier = "latest") -> Totals:
        view = self._contract.functions
        committed, claimed = (
            self._call(view.committed(), block),
            self._call(view.claimedTotal(), block),
        )
        return Totals(committed, claimed, self.reserve(block))

    def reserve(self, block: BlockIdentifier = "latest") -> int:
        """The Distributor's balance of the reward token."""
        token = self.w3.eth.contract(self.token, abi=_TOKEN_ABI)
        return self._call(token.functions.balanceOf(self.address), block)

    def events(
        self, first_block: int, last_block: int, progress: Progress | None = None
    ) -> list[Event]:
        """Everything that the program's log says in first_block .. last_block, in chain order;
        other logs are left out.

        Raises Unavailable if the node does not serve the range.
        """
        own = [
            {"address": self.address},
            {"address": self.token, "topics": [TRANSFER, None, _topic(self.address)]},
        ]
        whole = 2 * (last_block - first_block + 1)
        logs: list[LogReceipt] = []
        for done, criteria in enumerate(own):
            report: Progress | None = progress and (
                lambda at, of, base=done: progress(base * of + at, whole)
            )
            logs += fetch_logs(self.w3, criteria, first_block, last_block, report)
        events = [event for event in (self._event(log) for log in logs) if event]
        # A token that is its own Distributor's address would show a log twice; the place names it.
        return list(
            {(event.block_number, event.log_index): event for event in _ordered(events)}.values()
        )

    def events_of(self, tx_hash: bytes) -> list[Event]:
        """What the Distributor wrote in one mined transaction, by its receipt. Raises
        Unavailable."""
        receipt = reading("receipt", lambda: self.w3.eth.get_transaction_receipt(tx_hash))
        events = (self._event(log) for log in receipt["logs"] if log["address"] == self.address)
        return _ordered([event for event in events if event])

    def _event(self, log: LogReceipt) -> Event | None:
        place = {
            "block_number": log["blockNumber"],
            "block_hash": bytes(log["blockHash"]),
            "tx_hash": bytes(log["transactionHash"]),
            "log_index": log["logIndex"],
        }
        own = log["address"] == self.address
        name = (
            self._names.get(bytes(log["topics"][0]) if log["topics"] else b"")
            if own
            else "Transfer"
        )
        if name is None:
            return None
        contract = self._contract if own else self.w3.eth.contract(self.token, abi=_TOKEN_ABI)
        try:
            return _READERS[name](contract.events[name]().process_log(log)["args"], place)
        except (Web3Exception, DecodingError, ValueError, OverflowError, TypeError) as error:
            return Unreadable(name=name, reason=f"{type(error).__name__}: {error}", **place)

    @cached_property
    def _names(self) -> dict[bytes, str]:
        entries = {entry["name"]: entry for entry in self._contract.abi if entry["type"] == "event"}
        signature = {
            name: f"{name}({','.join(item['type'] for item in entry['inputs'])})"
            for name, entry in entries.items()
        }
        return {keccak(text=signature[name]): name for name in _READERS if name in entries}

    def _call(self, function: ContractFunction, block: BlockIdentifier) -> Any:
        try:
            return function.call(block_identifier=block)
        except (
            BadFunctionCallOutput,
            ContractLogicError,
            DecodingError,
            ValueError,
            OverflowError,
        ) as error:
            message = (
                f"{function.address}: {function.fn_name}() does not answer as a Distributor's "
                f"does ({error})"
            )
            raise NotADistributor(message) from error
        except (Web3Exception, RequestException) as error:
            raise Unavailable(
                f"{function.fn_name}(): the node does not answer ({type(error).__name__})"
            ) from error


def _ordered(events: list[Event]) -> list[Event]:
    return sorted(events, key=lambda event: (event.block_number, event.log_index))


def _topic(address: str) -> str:
    return "0x" + address.removeprefix("0x").lower().rjust(64, "0")


_READERS: dict[str, Callable[[Any, dict[str, Any]], Event]] = {
    "BatchPosted": lambda args, place: BatchPosted(
        bucket=args["bucket"],
        sequence=args["sequence"],
        new_root=args["newRoot"],
        items_root=args["itemsRoot"],
        interactions_root=bytes(args["interactionsRoot"]),
        ledger_head=bytes(args["ledgerHead"]),
        total=args["total"],
        deltas=bytes(args["deltas"]),
        **place,
    ),
    "Claimed": lambda args, place: Claimed(
        bucket=args["bucket"],
        slot=args["slot"],
        account=args["account"],
        recipient=args["recipient"],
        amount=args["amount"],
        **place,
    ),
    "PayoutSkipped": lambda args, place: PayoutSkipped(
        bucket=args["bucket"],
        slot=args["slot"],
        account=args["account"],
        reason=args["reason"],
        **place,
    ),
    "AttestorsChanged": lambda args, place: AttestorsChanged(
        attestors=tuple(args["attestors"]),
        threshold=args["threshold"],
        epoch=args["epoch"],
        **place,
    ),
    "Withdrawn": lambda args, place: Withdrawn(
        recipient=args["recipient"], amount=args["amount"], **place
    ),
    "Transfer": lambda args, place: Funded(sender=args["from"], amount=args["value"], **place),
}

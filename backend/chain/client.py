"""A connection to one chain's node, and the block up to which the chain is taken for settled."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from requests.exceptions import RequestException
from web3 import Web3
from web3.exceptions import BlockNotFound, Web3Exception, Web3RPCError
from web3.middleware import ExtraDataToPOAMiddleware
from web3.providers.rpc.utils import ExceptionRetryConfiguration

from backend.errors import Invalid, Unavailable

TIMEOUT_SECONDS = 30
CACHED = {"cache_allowed_requests": True, "cacheable_requests": {"eth_chainId"}}
"""Options of an HTTPProvider: web3 asks for the chain id before every call, and a chain keeps its
id."""
BLOCK_TAGS = ("latest", "safe", "finalized")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Block:
    """A block's header: number, 32-byte hash, Unix seconds."""

    number: int
    hash: bytes
    timestamp: int


def connect(rpc_url: str) -> Web3:
    """A client for the node at an HTTP(S) URL; reads are tried five times.

    Raises:
        Invalid: not an HTTP(S) URL.
        Unavailable: nothing answers there, or not as an Ethereum node.
    """
    parts = urlsplit(rpc_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid("rpc_url: expected http(s)://host[:port][/path]", field="rpc_url")
    retries = ExceptionRetryConfiguration(errors=(RequestException,), retries=5, backoff_factor=0.1)
    provider = Web3.HTTPProvider(
        rpc_url, {"timeout": TIMEOUT_SECONDS}, exception_retry_configuration=retries, **CACHED
    )
    w3 = Web3(provider)
    # Chains with a proof-of-authority history put more than 32 bytes in extraData, which web3
    # refuses by default.
    w3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    # Credentials and API keys stand in the path, the query or before the @: only the host is ever
    # shown.
    where = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
    try:
        w3.eth.chain_id  # noqa: B018 - the question is whether it answers
    except (RequestException, Web3Exception, ValueError) as error:
        raise Unavailable(
            f"no Ethereum node answers at {where}: {type(error).__name__}", field="rpc_url"
        ) from None
    return w3


@contextmanager
def node_errors(what: str = "chain") -> Iterator[None]:
    """Inside, a node that does not answer, or answers with an error, is Unavailable that names
    `what`."""
    try:
        yield
    except RequestException as error:
        raise Unavailable(f"{what}: the node does not answer ({type(error).__name__})") from error
    except Web3Exception as error:
        raise Unavailable(f"{what}: {error}") from error


def reading(what: str, call: Callable[[], T]) -> T:
    """`call()` inside `node_errors(what)`."""
    with node_errors(what):
        return call()


def block(w3: Web3, which: int | str) -> Block:
    """The header of a block by number, hash or tag. Raises Unavailable if the node does not have
    it."""
    header = reading(f"block {which}", lambda: w3.eth.get_block(which))
    return Block(header["number"], bytes(header["hash"]), header["timestamp"])


def final_block(w3: Web3, finality: str) -> Block:
    """The newest block that is settled by `finality`: "latest", "safe", "finalized" or a number of
    confirmations ("12").

    With n confirmations it is the block n below the head, block 0 if the chain is shorter.

    Raises:
        Invalid: another word.
        Unavailable: the node does not answer, or knows no such block (a chain without finality).
    """
    if finality in BLOCK_TAGS:
        return block(w3, finality)
    if not (finality.isascii() and finality.isdigit()):
        raise Invalid(
            "finality: expected latest, safe, finalized or a number of confirmations, got "
            f"{finality!r}",
            field="finality",
        )
    head = reading("head", lambda: w3.eth.block_number)
    return block(w3, max(0, head - int(finality)))


def deployment_block(w3: Web3, address: str, head: int) -> int:
    """The first block at which `address` has code, by binary search over 0 .. head.

    Raises:
        Invalid: it has none at `head`.
        Unavailable: the node does not hold old state; the message says to give the block.
    """
    if not reading("code", lambda: w3.eth.get_code(address, head)):
        raise Invalid(
            f"{address} has no code at block {head}: not a contract of this chain",
            field="distributor",
        )
    low, high = 0, head
    while low < high:
        middle = (low + high) // 2
        try:
            has_code = bool(w3.eth.get_code(address, middle))
        except (Web3RPCError, BlockNotFound) as error:
            raise Unavailable(
                f"the node does not serve the state of block {middle} ({error}): give the "
                "first block"
            ) from error
        low, high = (low, middle) if has_code else (middle + 1, high)
    return low

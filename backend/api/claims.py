"""Claims that the chain has and the ledger does not have yet, because their block is not final."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from backend.chain.distributor import Distributor
from backend.chain.node import Node
from backend.errors import GuerdonError
from backend.kit.outage import Outage
from backend.program.models import Program

LOOKS_MAX = 8
PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class Seen:
    """What the Distributor has paid to an account, in base units, as of the chain's newest
    block."""

    claimed: int
    block: int


class ClaimsSeen:
    """Asks the chain's node, in the time that a reader has.

    Without a node the API answers all the same. So a node that does not answer is left alone for
    some seconds, and at most `LOOKS_MAX` readers ask it at once.
    """

    def __init__(self, connect: Callable[[], Node]) -> None:
        self._connect = connect
        self._node: Node | None = None
        self._chain_id: int | None = None
        self._looks = threading.BoundedSemaphore(LOOKS_MAX)
        self._not_before = 0.0
        self._outage = Outage("node")

    def look(self, program: Program, bucket: int, slot: int) -> Seen | None:
        """What the account at the slot has been paid; None if the node cannot be asked."""
        if time.monotonic() < self._not_before or not self._looks.acquire(blocking=False):
            return None
        try:
            return self._ask(program, bucket, slot)
        except GuerdonError as error:
            self._not_before = time.monotonic() + PAUSE_SECONDS
            self._outage.failed(error)
            return None
        finally:
            self._looks.release()

    def _ask(self, program: Program, bucket: int, slot: int) -> Seen | None:
        if self._node is None:
            node = self._connect()
            self._chain_id = node.chain_id()
            self._node = node
        if program.chain_id != self._chain_id:
            return None
        block = self._node.block_number()
        claimed = Distributor(self._node, program.distributor).claimed(bucket, slot, block)
        self._outage.over()
        return Seen(claimed, block)

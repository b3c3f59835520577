"""An Anvil chain on a free port, stopped when the block ends: for tests and benchmarks."""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from eth_account import Account
from eth_account.signers.local import LocalAccount
from hexbytes import HexBytes
from web3 import Web3
from web3.types import RPCEndpoint, TxReceipt

from backend.chain.web3_node import Web3Node
from backend.kit.processes import dies_with_parent

EXECUTABLE = Path(__file__).parents[1] / "node_modules" / ".bin" / "anvil"
MNEMONIC = "test test test test test test test test test test test junk"
_LISTENING = re.compile(r"Listening on (\S+:\d+)")

Account.enable_unaudited_hdwallet_features()


@dataclass(frozen=True)
class Anvil:
    """A running chain. `url` is its RPC; `key(i)` is its i-th rich account, 0 .. 9."""

    url: str
    pid: int

    @cached_property
    def w3(self) -> Web3:
        return Web3(
            Web3.HTTPProvider(
                self.url,
                cache_allowed_requests=True,
                cacheable_requests={RPCEndpoint("eth_chainId")},
            )
        )

    @cached_property
    def node(self) -> Web3Node:
        """The chain as the backend sees it."""
        return Web3Node(self.w3)

    def key(self, index: int) -> LocalAccount:
        account: LocalAccount = Account.from_mnemonic(
            MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}"
        )
        return account

    def mined(self, sent: bytes) -> TxReceipt:
        """The receipt of a transaction: Anvil answers with the hash before the block is made."""
        return self.w3.eth.wait_for_transaction_receipt(HexBytes(sent), poll_latency=0.01)

    def settle_pool(self) -> None:
        """Wait until a chain that mines each transaction at once has mined what it was sent."""
        deadline = time.monotonic() + 10
        while self.rpc("anvil_getAutomine") and self._pending() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _pending(self) -> int:
        status = self.rpc("txpool_status")
        assert isinstance(status, dict)
        return int(status["pending"], 16)

    def rpc(self, method: str, *params: object) -> object:
        """Make a raw call (anvil_setCode, evm_increaseTime, ...).

        Raises RuntimeError with the node's message.
        """
        answer = self.w3.provider.make_request(RPCEndpoint(method), list(params))
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]


def _arguments(options: dict[str, object]) -> list[str]:
    arguments = []
    for name, value in options.items():
        if value is not False and value is not None:
            arguments += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return arguments


@contextmanager
def anvil(**options: object) -> Iterator[Anvil]:
    """Start Anvil with `--name value` for each option and wait until it listens.

    An option of True gives `--name` alone. Example: `with anvil(block_time=1, chain_id=1337) as
    chain: chain.w3.eth.block_number`.
    """
    command = [
        str(EXECUTABLE),
        *_arguments({"host": "127.0.0.1", "port": 0, "mnemonic": MNEMONIC, **options}),
    ]
    with tempfile.TemporaryFile() as output:
        # A session of its own: the npm launcher and the node behind it end together.
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=dies_with_parent(),
        )
        try:
            yield Anvil(f"http://{_wait_for_address(process, output)}", process.pid)
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    # The launcher passes SIGTERM on and reaps the node; killing at once would leave a zombie.
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for_address(process: subprocess.Popen[bytes], output: IO[bytes]) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        # pread: the file's offset is shared with the node, which is writing.
        text = os.pread(output.fileno(), 1 << 20, 0).decode(errors="replace")
        if found := _LISTENING.search(text):
            return found.group(1)
        if process.poll() is not None:
            raise RuntimeError(f"anvil ended: {text}")
        time.sleep(0.02)
    raise RuntimeError(f"anvil does not listen after 30 s: {text}")

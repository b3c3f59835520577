"""Single reads: what a node's answer means, in the words of several."""

from typing import Any

import pytest
from requests.exceptions import ConnectTimeout, HTTPError
from web3 import Web3
from web3.providers.base import BaseProvider

from backend.chain.node import CallReverted, Frame, Log
from backend.chain.signatures import StateMissing, is_attestors
from backend.chain.web3_node import Web3Node
from backend.errors import Unavailable
from tests.support.anvil import Anvil
from tests.support.program import account

WALLET, OTHER = account("wallet").address, account("other").address


class Says(BaseProvider):
    """A node with one answer, or none."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def make_request(self, method: Any, params: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"jsonrpc": "2.0", "id": 1, **self.answer}


def failed(message: str, code: int = -32000, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **more}}


class Contract(Says):
    """A node with a contract at every address, and one answer to a call."""

    def make_request(self, method: Any, params: Any) -> Any:
        if method == "eth_getCode":
            return {"jsonrpc": "2.0", "id": 1, "result": "0x5f"}
        return super().make_request(method, params)


def accepted(answer: Any, provider: type[Says] = Contract) -> bool:
    return is_attestors(Web3Node(Web3(provider(answer))), WALLET, bytes(32), b"x", 7)


def reverts(answer: Any) -> bool:
    try:
        Web3Node(Web3(Says(answer))).call(WALLET, b"")
    except CallReverted:
        return True
    return False


@pytest.mark.parametrize(
    "answer",
    [
        failed("execution reverted", 3, data="0x"),
        failed("execution reverted: no"),
        failed("VM execution error.", -32015, data="Reverted 0x"),
        failed("invalid opcode: INVALID"),
        failed("EVM error InvalidFEOpcode"),
        failed("EVM error MemoryOOG"),
        failed("out of gas"),
        failed("stack underflow (0 <=> 1)"),
    ],
    ids=str,
)
def test_code_that_fails_is_a_revert(answer: dict[str, Any]) -> None:
    """The words of several nodes for it."""
    assert reverts(answer)


def test_a_refusal_is_no_signature() -> None:
    """Any answer but the one that accepts."""
    for result in ("0x", "0x" + "00" * 32, "0x01", "0x" + "01" * 32):
        assert accepted({"result": result}) is False
    assert accepted({"result": "0x" + "00" * 31 + "01"}) is True


@pytest.mark.parametrize(
    "answer",
    [
        failed("missing trie node 5f1d (path ) state 0x5f1d is not available"),
        failed("missing trie node", data=None),
        failed("historical state not available", data={"block": 7}),
        failed("header not found"),
        failed("No state available for block 7", -32002),
        failed("execution reverted", 3, data="0x"),  # what is run does not revert
        failed("project does not have access to archive state", -32603),
        {"error": "nothing"},
    ],
    ids=str,
)
def test_a_node_that_cannot_say_is_not_a_refusal(answer: dict[str, Any]) -> None:
    """Without the state of that block nothing follows; the error says what to do."""
    with pytest.raises(StateMissing, match=r"block 7 .*archive node"):
        accepted(answer)
    with pytest.raises(StateMissing, match=r"block 7 .*archive node"):
        accepted(answer, Says)


def test_an_error_beside_a_null_result_is_an_error() -> None:
    """Some proxies send both: a call that reverts must not look like one that returned nothing."""
    node = Web3Node(Web3(Says({"result": None} | failed("execution reverted", 3, data="0x12"))))
    with pytest.raises(CallReverted):
        node.call(WALLET, b"")


def test_a_node_that_does_not_answer_is_unavailable() -> None:
    """Neither yes nor no, and not for want of old state."""
    with pytest.raises(Unavailable) as caught:
        accepted(ConnectTimeout())
    assert not isinstance(caught.value, StateMissing)


def test_only_what_did_not_fail_is_in_a_trace() -> None:
    """Calls at the address, at any depth, in order; nothing of what is inside a failed call."""
    there = {"type": "CALL", "to": WALLET.lower()}
    answer = {
        "type": "CALL",
        "to": OTHER,
        "input": "0x00",
        "calls": [
            {
                **there,
                "input": "0x01",
                "calls": [{"type": "delegatecall", "to": WALLET, "input": "0x02"}],
            },
            {
                "type": "CALL",
                "to": OTHER,
                "error": "execution reverted",
                "calls": [{**there, "input": "0x03"}],
            },
            {"type": "SELFDESTRUCT", "to": None, "calls": None},
            {**there, "error": "out of gas", "input": "0x04"},
            {"type": "CREATE2", "to": WALLET, "input": "0x05"},
        ],
    }
    assert Web3Node(Web3(Says({"result": answer}))).trace(bytes(32), WALLET) == [
        Frame("CALL", b"\x01"),
        Frame("DELEGATECALL", b"\x02"),
        Frame("CREATE2", b"\x05"),
    ]
    assert (
        Web3Node(Web3(Says({"result": answer}))).trace(bytes(32), account("nobody").address) == []
    )


@pytest.mark.parametrize(
    "answer",
    [
        failed("the method does not exist", -32601),
        {"result": None},
        {"result": [1]},
        {"result": {"to": WALLET}},
        HTTPError("403"),
    ],
    ids=str,
)
def test_no_trace_is_said(answer: Any) -> None:
    """None, which is not the same as a trace in which the address does not occur."""
    assert Web3Node(Web3(Says(answer))).trace(bytes(32), WALLET) is None


def test_a_transaction_is_read(chain: Anvil) -> None:
    """To whom, with what, and what it created; none for a hash that the node does not know."""
    sender = chain.key(0).address
    for call, to in (
        ({"data": "0x6001600c60003960016000f300"}, None),
        ({"to": WALLET, "data": "0x0102"}, WALLET),
    ):
        sent = chain.w3.eth.send_transaction({"from": sender, **call})
        receipt = chain.w3.eth.wait_for_transaction_receipt(sent)
        found = chain.node.transaction(bytes(sent))
        assert (found.to, found.data.hex()) == (to, call["data"][2:])
        created = chain.node.receipt(bytes(sent)).created
        assert created == receipt["contractAddress"]
        assert (created is None) == (to is not None)
    assert chain.node.transaction(bytes(32)) is None
    assert chain.node.receipt(bytes(32)) is None


def test_a_removed_log_is_left_out() -> None:
    """A log that a reorg took away is no log of the chain."""
    log = {
        "address": WALLET,
        "topics": ["0x" + "01" * 32],
        "data": "0x0203",
        "blockNumber": "0x7",
        "blockHash": "0x" + "02" * 32,
        "transactionHash": "0x" + "03" * 32,
        "transactionIndex": "0x0",
        "logIndex": "0x4",
    }
    node = Web3Node(Web3(Says({"result": [{**log, "removed": True}, {**log, "removed": False}]})))
    assert node.logs(WALLET, [], 7, 7) == [
        Log(WALLET, (b"\x01" * 32,), b"\x02\x03", 7, b"\x02" * 32, b"\x03" * 32, 4)
    ]

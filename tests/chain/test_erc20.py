"""What a token says of itself: any token, also an old, a silent or a hostile one."""

from collections.abc import Mapping
from typing import Any, cast

import pytest
from eth_abi import encode
from eth_utils import keccak

from backend.chain import erc20
from backend.chain.deploy import Deployer, deploy_program
from backend.chain.node import CallReverted, Node
from backend.errors import Unavailable
from backend.kit.token import Token
from backend.signer.keystore import KeystoreSigner
from prover.groth16 import dev_key
from tests.support.anvil import Anvil
from tests.support.program import DEV, attestor_keys

TOKEN = "0x" + "12" * 20


class Answers:
    """A node that answers calls by their signature; the others revert."""

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        self.answers = {keccak(text=name)[:4]: data for name, data in answers.items()}

    def call(self, to: str, data: bytes, block: Any = "latest") -> bytes:
        if data[:4] not in self.answers:
            raise CallReverted("eth_call", b"", "execution reverted")
        return self.answers[data[:4]]


def described(symbol: bytes | None, decimals: bytes | None) -> tuple[str | None, int | None]:
    said = {"symbol()": symbol, "decimals()": decimals}
    node = Answers({name: data for name, data in said.items() if data is not None})
    token = erc20.describe(cast(Node, node), TOKEN)
    return token.symbol, token.decimals


def text(value: str | bytes) -> bytes:
    return encode(["bytes"], [value.encode() if isinstance(value, str) else value])


SIX = (6).to_bytes(32, "big")


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        (text("USDC"), "USDC"),
        (b"MKR".ljust(32, b"\0"), "MKR"),
        (b"X" * 32, "X" * 32),
        (None, None),
        (b"", None),
        (b"\0" * 32, None),
        (text(""), None),
        (text(b"\xff\xfe"), None),
        (text("A\x1b[2J"), "A\ufffd[2J"),
        (text("[bold]T[/bold]"), "[bold]T[/bold]"),
        (text("L" * 10_000), "L" * 32 + "…"),
        ((2**255).to_bytes(32, "big") * 2, None),
        (b"\x01\x02\x03", None),
    ],
)
def test_symbols(symbol: bytes | None, expected: str | None) -> None:
    """Texts, bytes32, none, nonsense and attempts on the terminal."""
    assert described(symbol, SIX) == (expected, 6)


@pytest.mark.parametrize(
    ("decimals", "expected"),
    [
        (SIX, 6),
        ((0).to_bytes(32, "big"), 0),
        ((18).to_bytes(32, "big"), 18),
        (None, None),
        (b"", None),
        (b"\x06", None),
        ((78).to_bytes(32, "big"), None),
        (b"\xff" * 32, None),
        (SIX + SIX, None),
    ],
)
def test_decimals(decimals: bytes | None, expected: int | None) -> None:
    """A number that can be one, or none: 18 is never assumed."""
    assert described(text("T"), decimals) == ("T", expected)


def test_a_silent_node_is_no_answer() -> None:
    """A node that does not answer is an error, not a token without a symbol."""

    class Silent:
        def call(self, *_: Any) -> bytes:
            raise Unavailable("the node does not answer")

    with pytest.raises(Unavailable):
        erc20.describe(cast(Node, Silent()), TOKEN)


def test_the_test_tokens(chain: Anvil) -> None:
    """The test token of a local program has the decimals that were asked for."""
    deployer = Deployer(chain.node, KeystoreSigner(chain.key(0)))
    attestors = [key.address for key in attestor_keys()]
    for decimals in (18, 6):
        deployed = deploy_program(
            deployer, dev_key(DEV), DEV, attestors, 2, test_token_decimals=decimals
        )
        assert erc20.describe(chain.node, deployed.token) == Token(deployed.token, "TRW", decimals)

"""Where claims went: another recipient than the account takes the account's will, and the token
must have moved what the log says."""

from typing import Any

import pytest
from eth_abi import encode

from backend.audit.payouts import PayoutCheck
from backend.audit.report import AuditReport
from backend.chain import calldata
from backend.chain.calldata import find_claims_to
from backend.chain.events import Claimed
from backend.chain.node import Frame, Log, Transaction
from prover.eip712 import Domain, claim_to_digest
from tests.support.program import account

ANN, EVE = account("ann"), account("eve")
OWN, TOKEN, WRAPPER = (account(name).address for name in ("own", "token", "wrapper"))
DOMAIN = Domain(31337, OWN)
TX = b"\x07" * 32
FAR = 2**40


def permission(key: Any = ANN, *, cumulative: int = 9, recipient: str = EVE.address) -> bytes:
    digest = claim_to_digest(DOMAIN, 1, 2, cumulative, recipient, FAR)
    return bytes(key.unsafe_sign_hash(digest).signature)


def call(signature: bytes, *, slot: int = 2, recipient: str = EVE.address) -> bytes:
    return calldata.claim_to(1, slot, 3, ANN.address, 9, [5, 6], recipient, FAR, signature)


def claimed(recipient: str = EVE.address, amount: int = 9) -> Claimed:
    return Claimed(
        bucket=1,
        slot=2,
        account=ANN.address,
        recipient=recipient,
        amount=amount,
        block_number=8,
        block_hash=bytes(32),
        tx_hash=TX,
        log_index=0,
    )


def topic(address: str) -> bytes:
    return bytes.fromhex(address[2:]).rjust(32, b"\0")


class Chain:
    """A node with one transaction, its trace, and transfers of the token."""

    def __init__(
        self,
        data: bytes,
        *,
        to: str = OWN,
        sender: str = WRAPPER,
        frames: list[Frame] | None = None,
        paid: tuple[tuple[str, int], ...] = ((EVE.address, 9),),
    ) -> None:
        self._sent = Transaction(to, data, 8, sender)
        self._frames = frames
        self._logs = [
            Log(
                TOKEN,
                (b"\x01" * 32, topic(OWN), topic(recipient)),
                encode(["uint256"], [amount]),
                8,
                bytes(32),
                TX,
                place,
            )
            for place, (recipient, amount) in enumerate(paid)
        ]

    def transaction(self, tx_hash: bytes) -> Transaction | None:
        return self._sent if tx_hash == TX else None

    def trace(self, tx_hash: bytes, to: str) -> list[Frame] | None:
        return self._frames

    def logs(self, *_: object) -> list[Log]:
        return self._logs

    def code(self, *_: object) -> bytes:
        return b""

    def call(self, *_: object, **__: object) -> bytes:
        return b""


def found(chain: Chain, *claims: Claimed) -> list[str]:
    report = AuditReport(31337, OWN, 0, 9)
    PayoutCheck(chain, DOMAIN, TOKEN, report).check(claims or (claimed(),), 0, 9, lambda: None)
    assert report.checks["payouts"] == len(claims or (1,))
    return [finding.code for finding in report.findings]


SIGNED, FORGED = call(permission()), call(permission(EVE))
BURIED = b"\x12\x34\x56\x78" + bytes(60)


@pytest.mark.parametrize(
    ("chain", "codes"),
    [
        (Chain(SIGNED), []),
        (Chain(FORGED), ["recipient_foreign"]),
        (Chain(call(b"")), ["recipient_foreign"]),
        (Chain(call(b""), sender=ANN.address), []),
        (Chain(call(permission(), slot=3)), ["recipient_foreign"]),
        (Chain(call(permission(), recipient=ANN.address)), ["recipient_foreign"]),
        (Chain(call(permission(cumulative=10))), ["recipient_foreign"]),
        (Chain(BURIED + SIGNED), ["recipient_foreign"]),
        (Chain(b""), ["recipient_foreign"]),
        # Through another contract: by what the node traces of it.
        (Chain(b"", to=WRAPPER, frames=[Frame("CALL", SIGNED, WRAPPER)]), []),
        (Chain(b"", to=WRAPPER, frames=[Frame("CALL", call(b""), ANN.address)]), []),
        (Chain(SIGNED, to=WRAPPER, frames=[]), ["recipient_foreign"]),
        (Chain(b"", to=WRAPPER, frames=[Frame("CALL", FORGED, OWN)]), ["recipient_foreign"]),
        (
            Chain(b"", to=WRAPPER, frames=[Frame("DELEGATECALL", call(b""), ANN.address)]),
            ["recipient_foreign"],
        ),
        # Without a trace: a permission in the calldata shows the will, its absence shows nothing.
        (Chain(BURIED + SIGNED, to=WRAPPER), []),
        (Chain(BURIED + FORGED, to=WRAPPER), ["recipient_unchecked"]),
        (Chain(b"", to=WRAPPER), ["recipient_unchecked"]),
    ],
)  # fmt: skip
def test_another_recipient_takes_the_accounts_will(chain: Chain, codes: list[str]) -> None:
    """Its own call, or its signature of just this claim and this recipient."""
    assert found(chain) == codes


def test_the_account_itself_needs_no_permission() -> None:
    """Whoever pays the gas."""
    chain = Chain(b"", paid=((ANN.address, 9),))
    assert found(chain, claimed(recipient=ANN.address)) == []


@pytest.mark.parametrize("paid", [(), ((ANN.address, 9),), ((EVE.address, 8),), ((WRAPPER, 9),)])
def test_the_token_must_have_moved_it(paid: tuple[tuple[str, int], ...]) -> None:
    """Nothing, another recipient or another amount is not what the log says."""
    assert found(Chain(SIGNED, paid=paid)) == ["claim_not_paid"]


def test_one_transfer_pays_one_claim() -> None:
    """Two equal claims of one transaction need two transfers."""
    once = Chain(SIGNED)
    assert found(once, claimed(), claimed()) == ["claim_not_paid"]
    assert found(Chain(SIGNED, paid=((EVE.address, 9),) * 2), claimed(), claimed()) == []


def test_a_call_is_read_whole_or_found_inside() -> None:
    """What does not decode is passed over."""
    [read] = find_claims_to(SIGNED, whole=True)
    assert (read.bucket, read.slot, read.account, read.cumulative) == (1, 2, ANN.address, 9)
    assert (read.recipient, read.deadline, read.permission) == (EVE.address, FAR, permission())
    assert list(find_claims_to(BURIED + SIGNED + SIGNED, whole=False)) == [read, read]
    assert list(find_claims_to(BURIED + SIGNED, whole=True)) == []
    for length in range(0, len(SIGNED) - 31, 7):
        assert read not in find_claims_to(SIGNED[:length], whole=False)

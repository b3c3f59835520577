"""claimTo: what is refused, each by its own error, then what is paid to whom the account chose."""

from typing import Any

import pytest

from prover.eip712 import Domain, claim_to_digest
from tests.contracts.program import Program, key, sign
from tests.contracts.refusal import refused

EARNER = key(100)
RECIPIENT = key(101).address


@pytest.fixture
def earning(program: Program, accounts: Any) -> Program:
    """Bucket 1 holds a wallet with a key of ours (slot 0: 500) and one of ape's accounts (slot 1:
    600)."""
    program.post([(int(EARNER.address, 16), 500), (int(accounts[4].address, 16), 600)], bucket=1)
    return program


@pytest.fixture
def deadline(chain: Any) -> int:
    return chain.pending_timestamp + 1_000


def _permission(
    program: Program,
    deadline: int,
    domain: Domain | None = None,
    signer: Any = EARNER,
    **changes: Any,
) -> bytes:
    fields = {
        "bucket": 1,
        "slot": 0,
        "cumulative": 500,
        "recipient": RECIPIENT,
        "deadline": deadline,
    } | changes
    return sign(claim_to_digest(domain or program.domain, **fields), signer)


def _args(
    program: Program, deadline: int, permission: bytes, slot: int = 0, recipient: str = RECIPIENT
) -> list[Any]:
    return [*program.claim_args(slot, bucket=1), recipient, deadline, permission]


@pytest.mark.parametrize(
    "changes",
    [
        {"bucket": 0},
        {"slot": 1},
        {"cumulative": 501},
        {"recipient": key(102).address},
        {"deadline": 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_permission_for_something_else_is_refused(
    earning: Program, deadline: int, changes: dict[str, Any], stranger: Any
) -> None:
    """Each field of the permission is signed."""
    args = _args(earning, deadline, _permission(earning, **({"deadline": deadline} | changes)))
    assert refused("InvalidPermission", earning.distributor.claimTo, *args, sender=stranger) == ()


def test_a_permission_elsewhere_or_of_another_is_refused(
    earning: Program, deadline: int, stranger: Any
) -> None:
    """A permission for another chain or contract, by another signer, or none at all, does not
    count."""
    domain = earning.domain
    elsewhere = [
        Domain(domain.chain_id + 1, domain.distributor),
        Domain(domain.chain_id, RECIPIENT),
    ]
    permissions = [_permission(earning, deadline, other) for other in elsewhere]
    permissions += [_permission(earning, deadline, signer=key(103)), b"", b"\0" * 65]
    for permission in permissions:
        args = _args(earning, deadline, permission)
        assert (
            refused("InvalidPermission", earning.distributor.claimTo, *args, sender=stranger) == ()
        )


def test_an_expired_permission_is_refused(
    earning: Program, deadline: int, chain: Any, stranger: Any
) -> None:
    """A permission is good to the last second of its deadline."""
    args = _args(earning, deadline, _permission(earning, deadline))
    chain.mine(timestamp=deadline + 1)
    assert refused("PermissionExpired", earning.distributor.claimTo, *args, sender=stranger) == (
        deadline,
    )


def test_address_0_is_no_recipient(earning: Program, deadline: int, stranger: Any) -> None:
    """Nothing is paid to address 0, not even with permission."""
    zero = f"{0:#042x}"
    args = _args(earning, deadline, _permission(earning, deadline, recipient=zero), recipient=zero)
    assert refused("ZeroAddress", earning.distributor.claimTo, *args, sender=stranger) == ()


def test_a_permission_is_used_once(earning: Program, deadline: int, stranger: Any) -> None:
    """What a permission has paid, it cannot pay again."""
    args = _args(earning, deadline, _permission(earning, deadline))
    earning.distributor.claimTo(*args, sender=stranger)
    assert refused("NothingToClaim", earning.distributor.claimTo, *args, sender=stranger) == ()


def test_a_permission_does_not_reach_later_rewards(
    earning: Program, deadline: int, stranger: Any
) -> None:
    """A permission for one cumulative amount is none for the next."""
    permission = _permission(earning, deadline)
    earning.post([(int(EARNER.address, 16), 1)], bucket=1)
    args = _args(earning, deadline, permission)
    assert refused("InvalidPermission", earning.distributor.claimTo, *args, sender=stranger) == ()


def test_a_path_is_still_needed(
    earning: Program, deadline: int, stranger: Any, accounts: Any
) -> None:
    """Neither a permission nor being the account stands in for the tree."""
    permission = _permission(earning, deadline, cumulative=501)
    args = _args(earning, deadline, permission)
    args[4] = 501
    assert refused("NotInBucket", earning.distributor.claimTo, *args, sender=stranger) == (1, 1)
    args = _args(earning, 0, b"", slot=1)
    args[4] = 601
    assert refused("NotInBucket", earning.distributor.claimTo, *args, sender=accounts[4]) == (1, 1)


def test_an_account_chooses_its_recipient(earning: Program, token: Any, accounts: Any) -> None:
    """The account itself needs no permission and no deadline."""
    receipt = earning.distributor.claimTo(*_args(earning, 0, b"", slot=1), sender=accounts[4])
    (event,) = receipt.decode_logs(earning.distributor.Claimed)
    assert (event.account, event.recipient, event.amount) == (accounts[4].address, RECIPIENT, 600)
    assert token.balanceOf(RECIPIENT) == 600


def test_anyone_claims_by_permission(
    earning: Program, token: Any, stranger: Any, deadline: int
) -> None:
    """With the account's signature a stranger's call pays the recipient that it names."""
    earning.distributor.claimTo(
        *_args(earning, deadline, _permission(earning, deadline)), sender=stranger
    )
    assert token.balanceOf(RECIPIENT) == 500
    assert earning.distributor.claimed(1, 0) == 500


def test_a_contract_permits_by_eip_1271(
    program: Program, project: Any, deployer: Any, token: Any, stranger: Any, deadline: int
) -> None:
    """A contract wallet's holder permits; another key's signature does not."""
    wallet = deployer.deploy(project.Wallet1271, EARNER.address)
    program.post([(int(wallet.address, 16), 500)], bucket=1)
    wrong = _permission(program, deadline, signer=key(104))
    assert (
        refused(
            "InvalidPermission",
            program.distributor.claimTo,
            *_args(program, deadline, wrong),
            sender=stranger,
        )
        == ()
    )
    program.distributor.claimTo(
        *_args(program, deadline, _permission(program, deadline)), sender=stranger
    )
    assert token.balanceOf(RECIPIENT) == 500

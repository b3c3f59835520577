"""Calls that push claims: whom they pay, and that their proofs hold."""

from eth_abi import decode

from backend.chain import calldata
from backend.payout import service
from backend.program.models import Program
from prover.circuit import load_instance
from prover.tree import root_from_siblings
from tests.support.engine import Engine, address, report

DEV = load_instance("dev")


def calls(
    engine: Engine, program: Program, names: list[str], together: int
) -> list[tuple[list[str], tuple]]:
    """The calls and their decoded arguments; each is checked against the root of the batch that it
    names."""
    with engine.database.snapshot() as session:
        made = service.claim_many_calls(
            session, program, [address(name) for name in names], together
        )
        decoded = []
        for accounts, data in made:
            assert data[:4] == calldata.CLAIM_MANY
            bucket, sequence, payouts, siblings = decode(
                ["uint32", "uint64", "(uint16,address,uint128)[]", "uint256[]"], data[4:]
            )
            batch = service._newest_final(session, program, bucket)
            assert batch.sequence == sequence
            pairs = [(slot, int(account, 16), cumulative) for slot, account, cumulative in payouts]
            assert root_from_siblings(DEV.levels, pairs, list(siblings)) == batch.new_root
            assert [account.lower() for account in accounts] == [
                account for _, account, _ in payouts
            ]
            decoded.append((accounts, payouts))
    return decoded


def test_by_bucket_and_in_order(engine: Engine) -> None:
    """Accounts are paid bucket by bucket in ascending slots, with a limit a call, each in
    exactly one call."""
    program = engine.program()
    names = [f"p{i}" for i in range(45)]
    engine.take_in(program, [report(name, name, 7) for name in names])
    engine.settle(program)
    made = calls(engine, program, names[::-1], 20)
    assert [len(accounts) for accounts, _ in made] == [20, 12, 13]
    assert sorted(account for accounts, _ in made for account in accounts) == sorted(
        map(address, names)
    )
    assert [accounts for accounts, _ in calls(engine, program, names[:3], 64)] == [
        [address(name) for name in names[:3]]
    ]


def test_only_what_is_owed(engine: Engine) -> None:
    """Who has nothing on chain, has been paid, or is not known, is in no call; cumulatives, not
    amounts, are named."""
    program = engine.program()
    engine.take_in(
        program, [report("e1", "paid", 5), report("e2", "owed", 6), report("e3", "partly", 7)]
    )
    engine.settle(program)
    engine.claim(program, address("paid"), 5)
    engine.claim(program, address("partly"), 3)
    engine.take_in(program, [report("e4", "later", 8), report("e5", "paid", 1)])
    engine.close(program)
    ((accounts, payouts),) = calls(
        engine, program, ["paid", "owed", "partly", "later", "stranger"], 64
    )
    assert accounts == [address("owed"), address("partly")]
    assert [cumulative for _, _, cumulative in payouts] == [6, 7]
    assert calls(engine, program, ["paid", "stranger"], 64) == []
    assert calls(engine, program, [], 64) == []

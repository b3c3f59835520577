"""The number of account families: how it is raised, and what a raise does to live signatures."""

from typing import Any

import pytest

from tests.contracts.conftest import ACCOUNTS
from tests.contracts.program import Program
from tests.contracts.refusal import refused


def test_only_the_owner_raises(distributor: Any, guardian: Any, stranger: Any) -> None:
    """Neither the guardian nor a stranger."""
    for caller in (guardian, stranger):
        assert refused(
            "OwnableUnauthorizedAccount", distributor.raiseFamilies, 2, sender=caller
        ) == (caller.address.lower(),)


@pytest.mark.parametrize("families", [0, 1, 2, 4, 5, 12, 2**17, 2**32 - 1])
def test_what_is_no_raise_is_refused(distributor: Any, owner: Any, families: int) -> None:
    """Not a power of two, not above the current number, or above the maximum."""
    distributor.raiseFamilies(4, sender=owner)
    assert refused("InvalidFamilies", distributor.raiseFamilies, families, sender=owner) == (
        families,
        4,
    )


def test_a_raise_kills_every_live_signature(program: Program, owner: Any) -> None:
    """It starts an epoch with the same attestors and m; a batch signed before does not land, the
    same batch signed again does."""
    distributor = program.distributor
    statement = program.plan([(ACCOUNTS[7], 5)])
    before = program.posting(statement)
    attestors = list(distributor.attestors())
    receipt = distributor.raiseFamilies(distributor.MAX_FAMILIES(), sender=owner)
    (families,) = receipt.decode_logs(distributor.FamiliesChanged)
    (changed,) = receipt.decode_logs(distributor.AttestorsChanged)
    assert (families.families, distributor.families()) == (2**16, 2**16)
    assert (changed.epoch, list(changed.attestors), changed.threshold) == (2, attestors, 2)
    assert refused("InvalidAttestation", distributor.postBatch, *before.args)
    program.epoch = 2
    program.land(program.posting(statement))


def test_a_raise_leaves_an_announcement_alone(program: Program, owner: Any, chain: Any) -> None:
    """An announced change of attestors is executed as announced."""
    distributor = program.distributor
    new = sorted([f"{i:#042x}" for i in (0x111, 0x222)])
    distributor.announceAttestors(new, 2, sender=owner)
    distributor.raiseFamilies(2, sender=owner)
    chain.mine(timestamp=distributor.pendingAttestors()[2])
    distributor.executeAttestors(sender=owner)
    assert (distributor.attestorEpoch(), len(distributor.attestors())) == (3, 2)

"""backend/proof/keys.py: which key a program's proofs are made with."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from backend.chain.deploy import Deployer, DeploymentMismatch, deployed_key
from backend.config import Settings
from backend.errors import Unavailable
from backend.program.models import Program
from backend.proof.keys import ProgramKeys, UnfitKey
from backend.signer.keystore import KeystoreSigner
from prover.circuit import load_instance
from prover.groth16 import dev_key
from prover.keys import VerifyingKey
from tests.support.anvil import Anvil, anvil

KEY = dev_key(load_instance("dev"))


@pytest.fixture(scope="module")
def chain() -> Iterator[Anvil]:
    with anvil() as running:
        yield running


def keys(chain: Anvil, settings: Settings) -> ProgramKeys:
    return ProgramKeys(settings, partial(deployed_key, chain.node))


def program(chain: Anvil, words: list[int], chain_id: int = 31337) -> Program:
    """A program whose verifier was deployed with these words."""
    verifier, _ = Deployer(chain.node, KeystoreSigner(chain.key(0))).create(
        "Groth16Verifier", words
    )
    return Program(chain_id=chain_id, verifier=verifier, instance="dev")


def other_words() -> list[int]:
    """Another key: two of its IC points exchanged."""
    words = KEY.verifying_key.to_words()
    return [*words[:14], *words[16:18], *words[14:16], *words[18:]]


def test_another_verifier_stops_proving(chain: Anvil) -> None:
    """A verifier whose key is not on this machine: an error that says so, before any proof is
    made."""
    with pytest.raises(
        UnfitKey, match=r"the deployed verifier has key \w+, which is not on this machine"
    ):
        keys(chain, Settings()).get(program(chain, other_words()))


def test_a_configured_key_that_is_another_stops_proving(chain: Anvil, tmp_path: Path) -> None:
    """GUERDON_KEY is taken at its word: no other key is looked for."""
    row = program(chain, KEY.verifying_key.to_words())
    with pytest.raises(UnfitKey, match="no key here"):
        keys(chain, Settings(key=tmp_path)).get(row)
    with pytest.raises(UnfitKey, match="not on this machine"):
        keys(chain, Settings(key=KEY.path)).get(program(chain, other_words()))
    assert keys(chain, Settings(key=KEY.path)).get(row) == KEY


def test_code_that_is_no_verifier_and_a_node_that_is_gone(chain: Anvil) -> None:
    """Neither passes for a key."""
    with pytest.raises(DeploymentMismatch, match="bytes of code"):
        keys(chain, Settings()).get(
            Program(chain_id=31337, verifier=chain.key(0).address, instance="dev")
        )
    with anvil() as gone:
        row, node = program(gone, KEY.verifying_key.to_words()), gone.node
    with pytest.raises(Unavailable):
        ProgramKeys(Settings(), partial(deployed_key, node)).get(row)


def test_a_development_key_proves_for_a_public_chain_only_under_the_frightening_setting(
    chain: Anvil,
) -> None:
    """The worker refuses too, not only `program deploy`."""
    row = program(chain, KEY.verifying_key.to_words(), chain_id=10)
    with pytest.raises(UnfitKey, match="chain 10 is not a local chain"):
        keys(chain, Settings()).get(row)
    assert (
        keys(chain, Settings(allow_single_party_key_that_can_forge_everything=True)).get(row) == KEY
    )


def test_the_chain_is_asked_once(chain: Anvil) -> None:
    """A verifier is immutable: a second job asks no node."""
    asked: list[str] = []

    def read(verifier: str) -> VerifyingKey:
        asked.append(verifier)
        return deployed_key(chain.node, verifier)

    known, row = ProgramKeys(Settings(), read), program(chain, KEY.verifying_key.to_words())
    assert known.get(row) == known.get(row) == KEY
    assert asked == [row.verifier]


def test_at_its_start_a_worker_is_told_of_every_program_it_cannot_prove_for(chain: Anvil) -> None:
    """One reason a program; a program that is well does not appear, and one that is not hides no
    other."""
    rows = [
        program(chain, other_words()),
        program(chain, KEY.verifying_key.to_words()),
        Program(chain_id=1, verifier=chain.key(1).address),
    ]
    for row, name in zip(rows, ("other", "well", "none"), strict=True):
        row.name, row.instance = name, "dev"
    unfit = keys(chain, Settings()).unfit(rows)
    assert list(unfit) == ["other", "none"]
    assert "nothing is proven meanwhile" in unfit["other"]
    assert "bytes of code" in unfit["none"]

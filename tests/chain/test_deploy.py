"""Deployment: what is refused, and what stands on chain afterwards."""

from dataclasses import replace
from typing import Any

import pytest

from backend.chain.deploy import (
    Deployer,
    DeploymentError,
    DeploymentMismatch,
    check_deployment,
    deploy_program,
)
from backend.chain.distributor import Distributor
from backend.chain.preflight import deployment_gas
from backend.errors import Invalid
from backend.signer.keystore import KeystoreSigner
from prover.circuit import load_instance
from prover.groth16 import dev_key
from prover.keys import Contribution, KeyFolder, Manifest, SetupError, Transcript, VerifyingKey
from prover.tree import zero_root
from tests.support.anvil import Anvil, anvil
from tests.support.program import DEV, account, attestor_keys, real_program

ATTESTORS = [key.address for key in attestor_keys()]


def test_development_key_is_refused_off_local_chains() -> None:
    """On a chain id that is not a local one, a single-party key is refused before anything is
    sent."""
    with anvil(chain_id=8453) as public:
        with pytest.raises(SetupError, match="chain 8453 is not a local chain"):
            deploy_program(
                Deployer(public.node, KeystoreSigner(public.key(0))),
                dev_key(DEV),
                DEV,
                ATTESTORS,
                2,
            )
        links = (Contribution("Ann", "00"), Contribution("beacon", "01", "ab" * 32, 10))
        ceremony = replace_manifest(
            dev_key(DEV), origin="ceremony", transcript=Transcript("00", "00", "00", links)
        )
        with pytest.raises(Invalid, match="token"):
            deploy_program(
                Deployer(public.node, KeystoreSigner(public.key(0))), ceremony, DEV, ATTESTORS, 2
            )
        assert public.w3.eth.block_number == 0


def replace_manifest(key: KeyFolder, **changes: Any) -> KeyFolder:
    manifest: Manifest = replace(key.manifest, **changes)
    other = KeyFolder(key.path)
    other.__dict__["manifest"] = manifest
    return other


def test_key_of_another_circuit_is_refused(chain: Anvil) -> None:
    """The development key of one instance is not deployed as another's."""
    with pytest.raises(SetupError, match="another circuit"):
        deploy_program(
            Deployer(chain.node, KeystoreSigner(chain.key(0))),
            dev_key(DEV),
            load_instance("standard"),
            ATTESTORS,
            2,
        )


def test_gamma_equal_to_delta_is_refused(chain: Anvil) -> None:
    """Neither Python nor the contract takes a key under which anyone can forge proofs."""
    words = dev_key(DEV).verifying_key.to_words()
    words[10:14] = words[6:10]
    with pytest.raises(SetupError, match="gamma equals delta"):
        VerifyingKey.from_words(words)
    with pytest.raises(DeploymentError, match="GammaEqualsDelta"):
        Deployer(chain.node, KeystoreSigner(chain.key(0))).create("Groth16Verifier", words)


@pytest.mark.parametrize("threshold", [0, 4])
def test_contracts_reason_is_told(chain: Anvil, threshold: int) -> None:
    """What the constructor refuses is said by the name of its custom error."""
    signer = KeystoreSigner(chain.key(0))
    deployed = deploy_program(Deployer(chain.node, signer), dev_key(DEV), DEV, ATTESTORS, 2)
    ordered = sorted(ATTESTORS, key=lambda attestor: int(attestor, 16))
    config = (
        deployed.token,
        deployed.verifier,
        deployed.hasher,
        DEV.levels,
        1,
        signer.address,
        signer.address,
        ordered,
        threshold,
        0,
    )
    with pytest.raises(
        DeploymentError, match=rf"InvalidThreshold\(threshold={threshold}, attestors=3\)"
    ):
        Deployer(chain.node, signer).create("Distributor", config)


@pytest.mark.parametrize(
    ("attestors", "threshold", "options", "message"),
    [
        (ATTESTORS, 0, {}, "threshold: expected 1 to 3, the number of attestors, got 0"),
        (ATTESTORS, 4, {}, "threshold: expected 1 to 3, the number of attestors, got 4"),
        ([*ATTESTORS[:2], "0x12"], 2, {}, "attestor: expected an address: .*, got '0x12'"),
        ([*ATTESTORS[:2], "0x" + "00" * 20], 2, {}, "attestor: expected an address above 0"),
        ([*ATTESTORS[:2], ATTESTORS[0].lower()], 2, {}, "attestor: one address is given twice"),
        (ATTESTORS, 2, {"owner": "me"}, "owner: expected an address: .*, got 'me'"),
        (ATTESTORS, 2, {"owner": "0x" + "00" * 20}, "owner: expected an address above 0"),
        ([f"0x{i:040x}" for i in range(1, 66)], 2, {}, "attestor: expected at most 64, got 65"),
        ([*ATTESTORS[:2], ATTESTORS[2].swapcase().replace("X", "x")], 2, {}, "wrong EIP-55"),
        (ATTESTORS, 2, {"guardian": "0x"}, "guardian: expected an address: .*, got '0x'"),
        (
            ATTESTORS,
            2,
            {"token": "0x" + "11" * 20},
            "token: 0x1111111111111111111111111111111111111111 has no code on chain",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nothing_is_paid_for_before_what_can_be_known_is_checked(
    chain: Anvil, attestors: list[str], threshold: int, options: dict[str, Any], message: str
) -> None:
    """A mistake in an argument costs no gas: no contract stands when it is refused."""
    before = chain.w3.eth.block_number
    with pytest.raises(Invalid, match=message):
        deploy_program(
            Deployer(chain.node, KeystoreSigner(chain.key(0))),
            dev_key(DEV),
            DEV,
            attestors,
            threshold,
            **options,
        )
    assert chain.w3.eth.block_number == before


def test_a_contract_that_is_no_token_is_refused(chain: Anvil) -> None:
    """A Distributor in the token's place: it has code, and does not answer as a token."""
    other = real_program(chain).address
    before = chain.w3.eth.block_number
    with pytest.raises(Invalid, match=rf"token: {other} does not answer decimals\(\)"):
        deploy_program(
            Deployer(chain.node, KeystoreSigner(chain.key(0))),
            dev_key(DEV),
            DEV,
            ATTESTORS,
            2,
            token=other.lower(),
        )
    assert chain.w3.eth.block_number == before


def test_addresses_in_any_spelling(chain: Anvil) -> None:
    """In lower case and in upper case, as people copy them: two contracts were paid for before the
    third one's argument was found to be in lower case."""
    token = real_program(chain).deployment.token
    owner, guardian = account("owner").address, account("guardian").address
    deployed = deploy_program(
        Deployer(chain.node, KeystoreSigner(chain.key(0))),
        dev_key(DEV),
        DEV,
        [ATTESTORS[0].lower(), ATTESTORS[1].upper(), ATTESTORS[2]],
        2,
        token=token.lower(),
        owner=owner.upper(),
        guardian=guardian.lower(),
    )
    info = Distributor(chain.node, deployed.distributor).info()
    assert (info.token, info.owner, info.guardian) == (token, owner, guardian)
    assert deployed.token == token


def test_the_estimate_covers_what_a_deployment_takes(chain: Anvil) -> None:
    """And not twice as much: an owner is asked for what is needed."""
    signer = KeystoreSigner(chain.key(7))
    for token in (None, real_program(chain).deployment.token):
        estimate = deployment_gas(
            chain.node,
            signer.address,
            test_token=token is None,
            levels=DEV.levels,
            attestors=len(ATTESTORS),
        )
        first = chain.w3.eth.block_number + 1
        deploy_program(Deployer(chain.node, signer), dev_key(DEV), DEV, ATTESTORS, 2, token=token)
        used = sum(
            chain.w3.eth.get_block(number)["gasUsed"]
            for number in range(first, chain.w3.eth.block_number + 1)
        )
        assert used < estimate < 2 * used


def test_deployment_is_as_asked(chain: Anvil) -> None:
    """The views of a new program say what it was deployed with, and its code passes the check."""
    guardian = account("guardian").address
    program = real_program(chain, families=4, guardian=guardian, owner=account("owner").address)
    info = program.distributor.info()
    assert (info.chain_id, info.levels, info.slots, info.families) == (31337, 3, 32, 4)
    assert (info.token, info.hasher, info.verifier) == (
        program.deployment.token,
        program.deployment.hasher,
        program.deployment.verifier,
    )
    assert (info.owner, info.guardian) == (account("owner").address, guardian)
    assert program.distributor.attestors() == (tuple(ATTESTORS), 2, 1)
    assert program.distributor.root(7, 0) == zero_root(3)
    check_deployment(chain.node, program.address, dev_key(DEV).verifying_key)


@pytest.mark.parametrize("which", ["verifier", "hasher", "distributor"])
def test_changed_code_is_found(chain: Anvil, which: str) -> None:
    """One changed byte in any of the three contracts fails the check, by the contract's name."""
    program = real_program(chain)
    address = getattr(program.deployment, which)
    code = bytearray(chain.w3.eth.get_code(address))
    # The last byte of a Distributor or a Poseidon2 is never reached; in the verifier it is as good
    # as any.
    code[-1] ^= 1
    chain.rpc("anvil_setCode", address, "0x" + code.hex())
    names = {"verifier": "Groth16Verifier", "hasher": "Poseidon2", "distributor": "Distributor"}
    with pytest.raises(DeploymentMismatch, match=names[which]):
        check_deployment(chain.node, program.address, dev_key(DEV).verifying_key)


def test_another_key_is_found(chain: Anvil) -> None:
    """The check compares the key in the verifier's code with the one expected."""
    program = real_program(chain)
    key = dev_key(DEV).verifying_key
    with pytest.raises(DeploymentMismatch, match="another verifying key"):
        check_deployment(chain.node, program.address, replace(key, alpha=key.ic[0]))

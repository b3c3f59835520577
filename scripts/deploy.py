"""Deploy a program: `ape run deploy --network ethereum:local:foundry --attestor 0x.. --attestor
0x.. --threshold 2`.

Deploys a mintable test token if none is given (local chains only), Poseidon2, the verifier under
the given key and the Distributor, and prints their addresses as a JSON object. Ape itself logs to
stdout: a program that wants the JSON alone names a file with --output.
"""

import json
from pathlib import Path
from typing import Any

import ape
import click
from ape.cli import ConnectedProviderCommand, network_option
from ape.contracts import ContractContainer
from ape.logging import logger
from ethpm_types import ContractType

from backend.errors import Invalid
from backend.kit.address import checked_address
from prover.circuit import load_instance
from prover.groth16 import dev_key
from prover.keys import LOCAL_CHAIN_IDS, KeyFolder, VerifyingKey
from scripts.compile import ARTIFACTS
from scripts.compile import main as compile_contracts


def load_key(path: Path | None, instance: str, chain_id: int) -> VerifyingKey:
    """The verifying key in a file, or the development key of an instance.

    Raises:
        click.ClickException: off a local chain, a key without a manifest beside it or of another
        instance.
        SetupError: off a local chain, a development key.
    """
    folder = KeyFolder(path.parent) if path else dev_key(load_instance(instance))
    manifest_path = folder.path / "manifest.json"
    if manifest_path.exists():
        folder.require_allowed_on(chain_id)
        if folder.manifest.circuit_digest != load_instance(instance).digest:
            raise click.ClickException(
                f"{manifest_path}: not a key of instance {instance}'s circuit"
            )
    elif chain_id not in LOCAL_CHAIN_IDS:
        raise click.ClickException(
            f"{manifest_path} is missing: off a local chain a key must say where it came from"
        )
    key = VerifyingKey.from_snarkjs(json.loads(path.read_text())) if path else folder.verifying_key
    if manifest_path.exists() and key.digest != folder.manifest.key_digest:
        raise click.ClickException(f"{path}: not the key that {manifest_path} describes")
    return key


def container(name: str) -> ContractContainer:
    """A compiled contract, straight from its artifact: ape's own cache of contract types can lag
    behind a changed one."""
    artifact = json.loads((ARTIFACTS / f"{name}.json").read_text(encoding="utf-8"))
    contract_type = ContractType(
        contractName=name,
        sourceId=artifact["sourceName"],
        abi=artifact["abi"],
        deploymentBytecode={"bytecode": artifact["bytecode"]},
        runtimeBytecode={"bytecode": artifact["deployedBytecode"]},
    )
    return ContractContainer(contract_type)


def deploy(
    account: Any, chain_id: int, key: VerifyingKey, token: str | None, config: dict[str, Any]
) -> dict[str, Any]:
    """Deploy everything with `account`. `config` is the Distributor's, less token, verifier and
    hasher. Returns addresses by name."""
    if token is None:
        if chain_id not in LOCAL_CHAIN_IDS:
            raise click.UsageError(
                "--token is needed on a chain that is not local: the test token can be minted "
                "by anyone"
            )
        token = account.deploy(container("TestToken"), "Guerdon Test Token", "GTT").address
    hasher = account.deploy(container("Poseidon2"))
    verifier = account.deploy(container("Groth16Verifier"), key.to_words())
    distributor = account.deploy(
        container("Distributor"), config | {"token": token, "verifier": verifier, "hasher": hasher}
    )
    block = distributor.creation_metadata.receipt.block_number
    return {
        "chain_id": chain_id,
        "block": block,
        "token": token,
        "hasher": hasher.address,
        "verifier": verifier.address,
        "distributor": distributor.address,
        "key_digest": key.digest,
    }


@click.command(cls=ConnectedProviderCommand)
@network_option()
@click.option(
    "--account",
    "alias",
    help="Alias of the deploying ape account; on a local chain the first test account.",
)
@click.option(
    "--token",
    help="Address of the reward token; on a local chain a mintable one is deployed if none is "
    "given.",
)
@click.option(
    "--instance",
    default="dev",
    show_default=True,
    help="Instance of prover/circuits/instances.toml.",
)
@click.option(
    "--verifying-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="verifying_key.json; default: the dev key.",
)
@click.option("--families", default=16, show_default=True, help="Number of account families.")
@click.option("--owner", help="A timelock or multisig; default: the deploying account.")
@click.option("--guardian", default="0x" + "0" * 40, show_default=True, help="Who may pause.")
@click.option(
    "--attestor",
    "attestors",
    multiple=True,
    required=True,
    help="Address of an attestor; give one option each.",
)
@click.option("--threshold", type=int, required=True, help="How many attestors must sign a batch.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the JSON to this file.",
)
def cli(
    provider: Any,
    alias: str | None,
    token: str | None,
    instance: str,
    verifying_key: Path | None,
    families: int,
    owner: str | None,
    guardian: str,
    attestors: tuple[str, ...],
    threshold: int,
    output: Path | None,
) -> None:
    """Deploy a program and print its addresses as JSON."""
    logger.set_level("WARNING")
    compile_contracts()
    chain_id = provider.chain_id
    if alias is None and chain_id not in LOCAL_CHAIN_IDS:
        raise click.UsageError("--account is needed on a chain that is not local")
    account = ape.accounts.load(alias) if alias else ape.accounts.test_accounts[0]
    # Before anything is paid for: ape reads an address only where a contract is given it.
    try:
        token = None if token is None else checked_address(token, "token")
        owner = account.address if owner is None else checked_address(owner, "owner")
        guardian = checked_address(guardian, "guardian")
        signers = [checked_address(attestor, "attestor") for attestor in attestors]
    except Invalid as error:
        raise click.UsageError(error.message) from None
    config = {
        "levels": load_instance(instance).levels,
        "families": families,
        "owner": owner,
        "guardian": guardian,
        "attestors": sorted(signers, key=lambda address: int(address, 16)),
        "threshold": threshold,
        "dailyLimit": 0,
    }
    deployment = deploy(
        account, chain_id, load_key(verifying_key, instance, chain_id), token, config
    )
    click.echo(json.dumps(deployment, indent=2))
    if output:
        output.write_text(json.dumps(deployment, indent=2) + "\n", encoding="utf-8")

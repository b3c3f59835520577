"""scripts/deploy.py: which keys it takes where, and what stands on chain afterwards."""

import json
import shutil
from pathlib import Path
from typing import Any

import click
import pytest

from prover.keys import KeyFolder, SetupError
from scripts.deploy import deploy, load_key
from tests.contracts.program import ATTESTORS

LOCAL, PUBLIC = 31337, 10


def test_a_development_key_stays_off_public_chains(dev_folder: KeyFolder) -> None:
    """Neither the default key nor the same key named as a file deploys on a chain that is not
    local."""
    for path in (None, dev_folder.path / "verifying_key.json"):
        with pytest.raises(SetupError, match="not a local chain"):
            load_key(path, "dev", PUBLIC)


def test_a_key_must_say_where_it_came_from(dev_folder: KeyFolder, tmp_path: Path) -> None:
    """Off a local chain a key without a manifest is refused; on a local one it is taken."""
    path = tmp_path / "verifying_key.json"
    shutil.copy(dev_folder.path / "verifying_key.json", path)
    with pytest.raises(click.ClickException, match=r"manifest\.json is missing"):
        load_key(path, "dev", PUBLIC)
    assert load_key(path, "dev", LOCAL) == dev_folder.verifying_key


def test_a_key_of_another_circuit_is_refused(dev_folder: KeyFolder) -> None:
    """A key of the dev instance does not pass for the standard one's."""
    with pytest.raises(click.ClickException, match="not a key of instance standard"):
        load_key(dev_folder.path / "verifying_key.json", "standard", LOCAL)


def test_a_key_that_its_manifest_does_not_describe_is_refused(
    dev_folder: KeyFolder, tmp_path: Path
) -> None:
    """Files of two different keys in one folder are refused."""
    shutil.copy(dev_folder.path / "manifest.json", tmp_path / "manifest.json")
    data = json.loads((dev_folder.path / "verifying_key.json").read_text())
    data["IC"][0], data["IC"][1] = data["IC"][1], data["IC"][0]
    (tmp_path / "verifying_key.json").write_text(json.dumps(data))
    with pytest.raises(click.ClickException, match="not the key that"):
        load_key(tmp_path / "verifying_key.json", "dev", LOCAL)


def test_a_test_token_stays_off_public_chains(deployer: Any, dev_folder: KeyFolder) -> None:
    """A token that anyone can mint is not deployed on a chain that is not local."""
    with pytest.raises(click.UsageError, match="--token is needed"):
        deploy(deployer, PUBLIC, dev_folder.verifying_key, None, {})


def test_a_program_is_deployed_whole(project: Any, deployer: Any, owner: Any, chain: Any) -> None:
    """Token, hasher, verifier and Distributor stand at the printed addresses and know one
    another."""
    config = {
        "levels": 3,
        "families": 2,
        "owner": owner,
        "guardian": f"{0:#042x}",
        "attestors": [attestor.address for attestor in ATTESTORS],
        "threshold": 2,
        "dailyLimit": 0,
    }
    found = deploy(deployer, chain.chain_id, load_key(None, "dev", chain.chain_id), None, config)
    assert json.loads(json.dumps(found)) == found
    distributor = project.Distributor.at(found["distributor"])
    assert (distributor.token(), distributor.hasher(), distributor.verifier()) == (
        found["token"],
        found["hasher"],
        found["verifier"],
    )
    assert (distributor.families(), distributor.owner(), found["chain_id"]) == (
        2,
        owner,
        chain.chain_id,
    )
    assert found["block"] == chain.blocks.height

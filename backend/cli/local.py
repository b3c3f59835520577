"""A program on a local stack: keys, contracts, partner and attestors, ready to take interactions.

Every secret is made fresh and lives in the stack's folder. Keystores there use a light key derivation: they guard play money.
"""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backend.chain.client import connect
from backend.chain.deploy import Deployer, Deployment, deploy_program
from backend.chain.distributor import Distributor
from backend.chain.local import give_ether, require_local
from backend.chain.token import mint_calldata, transfer_calldata
from backend.cli.stack import Stack, free_port
from backend.config import Settings
from backend.context import Context
from backend.migrations import upgrade
from backend.partner import repository as partners
from backend.partner.scheme import generate_secret
from backend.program import service as programs
from backend.signer import keystore
from backend.signer.keystore import KeystoreSigner
from prover.circuit import load_instance
from prover.groth16 import dev_key

ATTESTORS, THRESHOLD = 3, 2
LIGHT_SCRYPT_N = 2**10
ETHER = 10**18

Progress = Callable[[str], None]


@dataclass
class Local:
    """A running local stack with one program."""

    stack: Stack
    context: Context
    owner: KeystoreSigner
    deployment: Deployment
    program_id: int
    program: str
    instance: str
    rpc_url: str
    api_url: str
    operator_key: str
    partner: str | None = None
    partner_secret: str | None = None

    def fund(self, amount: int) -> None:
        """Mint test tokens and move them into the Distributor."""
        deployer = Deployer(self.context.w3, self.owner)
        deployer.send("mint", {"to": self.deployment.token, "data": mint_calldata(self.owner.address, amount)})
        deployer.send("fund", {"to": self.deployment.token, "data": transfer_calldata(self.deployment.distributor, amount)})

    def close(self) -> None:
        self.context.close()
        self.stack.close()


def start_local(
    folder: Path, *, program: str, partner: str | None, instance: str = "dev", batch_age_max_seconds: int = 2, tick_seconds: float = 0.5,
    worker_processes: int = 2, api_port: int | None = None, progress: Progress = lambda _: None,
) -> Local:  # fmt: skip
    """Start everything. On any failure what was started is stopped. Raises StackError and what deploying raises."""
    folder.mkdir(parents=True, exist_ok=True)
    stack = Stack(folder)
    try:
        return _start(
            stack, program=program, partner=partner, instance=instance, batch_age_max_seconds=batch_age_max_seconds,
            tick_seconds=tick_seconds, worker_processes=worker_processes, api_port=api_port, progress=progress,
        )  # fmt: skip
    except BaseException:
        stack.close()
        raise


def _start(
    stack: Stack, *, program: str, partner: str | None, instance: str, batch_age_max_seconds: int, tick_seconds: float,
    worker_processes: int, api_port: int | None, progress: Progress,
) -> Local:  # fmt: skip
    progress("PostgreSQL")
    database_url = stack.start_postgres()
    progress("Redis")
    redis_url = stack.start_redis()
    progress("Anvil")
    rpc_url = stack.start_chain()
    progress("keys")
    password, operator_key, attestor_token = (secrets.token_urlsafe(24) for _ in range(3))
    keys = {
        name: keystore.create(stack.folder / "keys" / f"{name}.json", password, scrypt_n=LIGHT_SCRYPT_N)
        for name in ("owner", "poster", "payer", *(f"attestor-{i}" for i in range(ATTESTORS)))
    }
    environment = {
        "GUERDON_DATABASE_URL": database_url,
        "GUERDON_REDIS_URL": redis_url,
        "GUERDON_RPC_URL": rpc_url,
        "GUERDON_KEYSTORE": str(stack.folder / "keys" / "poster.json"),
        "GUERDON_PAYER_KEYSTORE": str(stack.folder / "keys" / "payer.json"),
        "GUERDON_KEYSTORE_PASSWORD": password,
        "GUERDON_OPERATOR_API_KEY": operator_key,
        "GUERDON_ATTESTOR_TOKEN": attestor_token,
        "GUERDON_TICK_SECONDS": str(tick_seconds),
    }
    stack.environment |= environment
    context = Context(Settings(**{name.removeprefix("GUERDON_").lower(): value for name, value in environment.items()}))
    upgrade(context.database)

    progress("proving key")
    key = dev_key(load_instance(instance))
    progress("contracts")
    w3 = connect(rpc_url)
    chain_id = require_local(w3)
    for name in ("owner", "poster", "payer"):
        give_ether(w3, keys[name].address, 1000 * ETHER)
    addresses = [keys[f"attestor-{i}"].address for i in range(ATTESTORS)]
    deployment = deploy_program(w3, keys["owner"], key, load_instance(instance), addresses, THRESHOLD)

    ports = [free_port() for _ in range(ATTESTORS)]
    with context.database.transaction() as session:
        row = programs.register(
            session, Distributor(w3, deployment.distributor), program, deployment.block, key.verifying_key,
            [f"http://127.0.0.1:{port}" for port in ports], finality="latest", batch_items_max=10**6,
            batch_age_max_seconds=batch_age_max_seconds,
        )  # fmt: skip
        program_id = row.id
    local = Local(stack, context, keys["owner"], deployment, program_id, program, instance, rpc_url, "", operator_key)
    if partner is not None:
        local.partner, local.partner_secret = partner, generate_secret()
        with context.database.transaction() as session:
            partners.add(session, program_id, partner, local.partner_secret)
    for i, port in enumerate(ports):
        progress(f"attestor {i + 1}")
        _start_attestor(local, f"attestor-{i}", port, chain_id, password, attestor_token)
    progress("API")
    local.api_url = stack.start_api(api_port)
    progress("worker")
    stack.start_worker(worker_processes)
    stack.check()
    return local


def _start_attestor(local: Local, name: str, port: int, chain_id: int, password: str, token: str) -> None:
    """Each attestor has a folder of its own: key, password, pins and store. It is told nothing of the backend's database."""
    folder = local.stack.folder / name
    folder.mkdir()
    for file, text in (("password", password), ("token", token)):
        (folder / file).write_text(text)
        (folder / file).chmod(0o600)
    pins: dict[str, object] = {}
    if local.partner is not None:
        pins = {local.deployment.distributor: {local.partner: {"scheme": "standard-webhooks", "secrets": [local.partner_secret]}}}
    (folder / "partners.json").write_text(json.dumps(pins, indent=2))
    (folder / "partners.json").chmod(0o600)
    program = {
        "distributor": local.deployment.distributor, "instance": local.instance, "families": 1,
        "first_block": local.deployment.block, "finality": "latest",
    }  # fmt: skip
    config = {
        "chain_id": chain_id, "rpc_url": local.rpc_url, "host": "127.0.0.1", "port": port,
        "keystore": f"../keys/{name}.json", "password_file": "password", "token_file": "token", "database": "attestor.sqlite",
        "pins": "partners.json", "programs": [program],
    }  # fmt: skip
    (folder / "attestor.json").write_text(json.dumps(config, indent=2))
    local.stack.start_attestor(name, folder / "attestor.json", port)

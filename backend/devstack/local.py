"""A program on a local chain: keys, contracts, partner and attestors, ready to take interactions.

Every secret is made fresh and lives in one folder. Keystores there use a light key derivation: they
guard play money.

    folder/environment          what API, worker and CLI need, as shell assignments
    folder/keys/*.json          owner, poster, payer
    folder/attestor-N/          an attestor's own: key, password, token, pins, configuration, store
"""

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.chain.deploy import Deployer, Deployment, deploy_program
from backend.chain.distributor import Distributor
from backend.chain.local import give_ether, require_local
from backend.chain.token import mint_calldata, transfer_calldata
from backend.config import Settings
from backend.context import Context
from backend.devstack.stack import Stack, free_port
from backend.kit.files import write_private
from backend.migrations import upgrade
from backend.partner import repository as partners
from backend.partner.schemes.standard_webhooks import generate_secret
from backend.program import service as programs
from backend.signer import keystore
from backend.signer.keystore import KeystoreSigner
from prover.circuit import load_instance
from prover.key_store import key_for

ATTESTORS, THRESHOLD = 3, 2
ETHER = 10**18

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Urls:
    """Where the servers are, as the API, the worker and the attestors reach them."""

    database: str
    redis: str
    rpc: str


@dataclass(frozen=True)
class Prepared:
    """A program on chain and in the database, and every file that its services start from."""

    folder: Path
    context: Context
    environment: dict[str, str]
    owner: KeystoreSigner
    deployment: Deployment
    program_id: int
    program: str
    instance: str
    operator_key: str
    partner: str | None
    partner_secret: str | None

    def fund(self, amount: int) -> None:
        """Mint test tokens and move them into the Distributor."""
        deployer = Deployer(self.context.w3, self.owner)
        deployer.send(
            "mint", {"to": self.deployment.token, "data": mint_calldata(self.owner.address, amount)}
        )
        deployer.send(
            "fund",
            {
                "to": self.deployment.token,
                "data": transfer_calldata(self.deployment.distributor, amount),
            },
        )


@dataclass(frozen=True)
class Local(Prepared):
    """A prepared program whose services run."""

    stack: Stack
    rpc_url: str
    api_url: str

    def close(self) -> None:
        self.context.close()
        self.stack.close()


def prepare(
    folder: Path,
    urls: Urls,
    *,
    program: str,
    partner: str | None,
    instance: str,
    attestor_urls: Sequence[str],
    attestor_hosts: Sequence[tuple[str, int]],
    batch_age_max_seconds: int,
    tick_seconds: float,
    progress: Progress = lambda _: None,
) -> Prepared:
    """Make keys, deploy, register, and write every file below `folder`. `attestor_hosts`: the
    (host, port) that each listens on."""
    progress("keys")
    password, operator_key, attestor_token = (secrets.token_urlsafe(24) for _ in range(3))
    keys = {
        name: keystore.create(
            folder / "keys" / f"{name}.json", password, scrypt_n=keystore.SCRYPT_N_LOCAL
        )
        for name in ("owner", "poster", "payer")
    }
    environment = {
        "GUERDON_DATABASE_URL": urls.database,
        "GUERDON_REDIS_URL": urls.redis,
        "GUERDON_RPC_URL": urls.rpc,
        "GUERDON_KEYSTORE": str(folder / "keys" / "poster.json"),
        "GUERDON_PAYER_KEYSTORE": str(folder / "keys" / "payer.json"),
        "GUERDON_OWNER_KEYSTORE": str(folder / "keys" / "owner.json"),
        "GUERDON_KEYSTORE_PASSWORD": password,
        "GUERDON_OPERATOR_API_KEY": operator_key,
        "GUERDON_ATTESTOR_TOKEN": attestor_token,
        "GUERDON_TICK_SECONDS": str(tick_seconds),
    }
    context = Context(
        Settings(
            **{name.removeprefix("GUERDON_").lower(): value for name, value in environment.items()}
        )
    )
    chain_id = require_local(context.w3)
    upgrade(context.database)
    with context.database.transaction() as session:
        programs.require_free(session, program)

    progress("proving key")
    key = key_for(load_instance(instance), context.settings.key)
    progress("contracts")
    for signer in keys.values():
        give_ether(context.w3, signer.address, 1000 * ETHER)
    attestors = [
        _attestor_key(folder / f"attestor-{i}", attestor_token) for i in range(len(attestor_urls))
    ]
    deployment = deploy_program(
        context.w3, keys["owner"], key, load_instance(instance), attestors, THRESHOLD
    )
    secret = generate_secret() if partner is not None else None
    with context.database.transaction() as session:
        row = programs.register(
            session,
            Distributor(context.w3, deployment.distributor),
            program,
            deployment.block,
            key.verifying_key,
            list(attestor_urls),
            finality="latest",
            batch_items_max=10**6,
            batch_age_max_seconds=batch_age_max_seconds,
        )
        if partner is not None:
            partners.add(session, row.id, partner, secret)
    pins = (
        {deployment.distributor: {partner: {"scheme": "standard-webhooks", "secrets": [secret]}}}
        if partner is not None
        else {}
    )
    for i, (host, port) in enumerate(attestor_hosts):
        config = {
            "chain_id": chain_id,
            "rpc_url": urls.rpc,
            "host": host,
            "port": port,
            "keystore": "key.json",
            "password_file": "password",
            "token_file": "token",
            "database": "attestor.sqlite",
            "pins": "partners.json",
            "programs": [
                {
                    "distributor": deployment.distributor,
                    "instance": instance,
                    "families": 1,
                    "first_block": deployment.block,
                    "finality": "latest",
                }
            ],
        }
        write_private(folder / f"attestor-{i}" / "partners.json", json.dumps(pins, indent=2))
        write_private(folder / f"attestor-{i}" / "attestor.json", json.dumps(config, indent=2))
    # Last: a folder with this file is complete.
    write_private(
        folder / "environment",
        "".join(f"export {name}='{value}'\n" for name, value in environment.items()),
    )
    return Prepared(
        folder,
        context,
        environment,
        keys["owner"],
        deployment,
        row.id,
        program,
        instance,
        operator_key,
        partner,
        secret,
    )


def _attestor_key(folder: Path, token: str) -> str:
    """An attestor's key, password and token in its own folder; returns its address."""
    password = secrets.token_urlsafe(24)
    folder.mkdir(parents=True, exist_ok=True)
    write_private(folder / "password", password)
    write_private(folder / "token", token)
    return keystore.create(folder / "key.json", password, scrypt_n=keystore.SCRYPT_N_LOCAL).address


def start_local(
    folder: Path,
    *,
    program: str,
    partner: str | None,
    instance: str = "dev",
    batch_age_max_seconds: int = 2,
    tick_seconds: float = 0.5,
    worker_processes: int = 2,
    api_port: int | None = None,
    progress: Progress = lambda _: None,
) -> Local:
    """Start servers, prepare a program and start its services. On any failure what was started is
    stopped.

    Raises: StackError, and what deploying raises.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stack = Stack(folder)
    try:
        progress("PostgreSQL")
        database_url = stack.start_postgres()
        progress("Redis")
        redis_url = stack.start_redis()
        progress("Anvil")
        urls = Urls(database_url, redis_url, stack.start_chain())
        hosts = [("127.0.0.1", free_port()) for _ in range(ATTESTORS)]
        prepared = prepare(
            folder,
            urls,
            program=program,
            partner=partner,
            instance=instance,
            attestor_urls=[f"http://{h}:{p}" for h, p in hosts],
            attestor_hosts=hosts,
            batch_age_max_seconds=batch_age_max_seconds,
            tick_seconds=tick_seconds,
            progress=progress,
        )
        stack.environment |= prepared.environment
        for i, (_, port) in enumerate(hosts):
            progress(f"attestor {i + 1}")
            stack.start_attestor(f"attestor-{i}", folder / f"attestor-{i}" / "attestor.json", port)
        progress("API")
        api_url = stack.start_api(api_port)
        progress("worker")
        stack.start_worker(worker_processes)
        stack.check()
        return Local(**vars(prepared), stack=stack, rpc_url=urls.rpc, api_url=api_url)
    except BaseException:
        stack.close()
        raise

"""A program on a local chain: keys, contracts, partner and attestors, ready for interactions.

Every secret is new and lies in one folder. The keystores use a light key derivation, because they
guard test tokens only.

    folder/environment          what API, worker and CLI need, as shell assignments
    folder/keys/*.json          owner, poster, payer
    folder/attestor-N/          key, password, token, partner keys, configuration, store
"""

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path

from backend.chain.deploy import TEST_TOKEN_DECIMALS, Deployment, deploy_program
from backend.chain.distributor import Distributor
from backend.chain.erc20 import mint_calldata, transfer_calldata
from backend.chain.local import give_ether, require_local
from backend.config import Settings
from backend.context import Context
from backend.devstack.stack import Stack, free_port
from backend.kit.files import private_folder, write_private
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
class Given:
    """Servers that the user names, each in place of an embedded one."""

    database: str | None = None
    redis: str | None = None
    rpc: str | None = None


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
        deployer = self.context.deployer("fund:local", "latest")
        deployer.send("mint", self.deployment.token, mint_calldata(self.owner.address, amount))
        deployer.send(
            "fund", self.deployment.token, transfer_calldata(self.deployment.distributor, amount)
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


@dataclass(frozen=True)
class Plan:
    """What to prepare. `attestor_hosts`: the (host, port) that each attestor listens on."""

    program: str
    partner: str | None
    instance: str
    attestor_urls: Sequence[str]
    attestor_hosts: Sequence[tuple[str, int]]
    batch_age_max_seconds: int
    tick_seconds: float
    test_token_decimals: int = TEST_TOKEN_DECIMALS
    families: int = 1
    finality: str = "latest"
    """Of the books and of the attestors."""


def prepare(folder: Path, urls: Urls, plan: Plan, progress: Progress = lambda _: None) -> Prepared:
    """Make keys, deploy, register, and write every file below `folder`."""
    progress("keys")
    password, operator_key, attestor_token = (secrets.token_urlsafe(24) for _ in range(3))
    keys = {
        name: keystore.create(
            folder / "keys" / f"{name}.json", password, scrypt_n=keystore.SCRYPT_N_LOCAL
        )
        for name in ("owner", "poster", "payer")
    }
    environment = _environment(folder, urls) | {
        "GUERDON_KEYSTORE_PASSWORD": password,
        "GUERDON_OPERATOR_API_KEY": operator_key,
        "GUERDON_ATTESTOR_TOKEN": attestor_token,
        "GUERDON_TICK_SECONDS": str(plan.tick_seconds),
    }
    context = Context(_settings(environment))
    try:
        chain_id = require_local(context.node)
        for signer in keys.values():
            give_ether(context.node, signer.address, 1000 * ETHER)
        attestors = [
            _attestor_key(folder / f"attestor-{i}", attestor_token)
            for i in range(len(plan.attestor_urls))
        ]
        secret = generate_secret() if plan.partner is not None else None
        deployment, program_id = _deploy(context, plan, keys["owner"], attestors, secret, progress)
        _write_attestors(folder, urls, plan, chain_id, deployment, secret)
    except BaseException:
        context.close()
        raise
    # Last: a folder with this file is complete.
    write_private(folder / "environment", "".join(starmap(_export, environment.items())))
    return Prepared(
        folder,
        context,
        environment,
        keys["owner"],
        deployment,
        program_id,
        plan.program,
        plan.instance,
        operator_key,
        plan.partner,
        secret,
    )


def _export(name: str, value: str) -> str:
    """An assignment for a shell, in single quotes whatever the value holds."""
    quoted = value.replace("'", "'\\''")
    return f"export {name}='{quoted}'\n"


def _environment(folder: Path, urls: Urls) -> dict[str, str]:
    """The settings that are no secrets, by their variables."""
    return {
        "GUERDON_DATABASE_URL": urls.database,
        "GUERDON_REDIS_URL": urls.redis,
        "GUERDON_RPC_URL": urls.rpc,
        "GUERDON_KEYSTORE": str(folder / "keys" / "poster.json"),
        "GUERDON_PAYER_KEYSTORE": str(folder / "keys" / "payer.json"),
        "GUERDON_OWNER_KEYSTORE": str(folder / "keys" / "owner.json"),
    }


def _settings(environment: Mapping[str, str]) -> Settings:
    """The settings that a service reads from `environment`, with this process's for the rest."""
    named = {name.removeprefix("GUERDON_").lower(): value for name, value in environment.items()}
    return Settings(**named)  # type: ignore[arg-type]  # texts, as from the environment: validated


def _deploy(
    context: Context,
    plan: Plan,
    owner: KeystoreSigner,
    attestors: Sequence[str],
    secret: str | None,
    progress: Progress,
) -> tuple[Deployment, int]:
    """The contracts, and the id of the registered program."""
    upgrade(context.database)
    with context.database.transaction() as session:
        programs.require_free(session, plan.program)
    progress("proving key")
    instance = load_instance(plan.instance)
    key = key_for(instance, context.settings.key)
    progress("contracts")
    deployment = deploy_program(
        context.deployer(f"deploy:{plan.program}", "latest"),
        key,
        instance,
        list(attestors),
        THRESHOLD,
        families=plan.families,
        test_token_decimals=plan.test_token_decimals,
    )
    with context.database.transaction() as session:
        row = programs.register(
            session,
            Distributor(context.node, deployment.distributor),
            plan.program,
            deployment.block,
            key.verifying_key,
            list(plan.attestor_urls),
            finality=plan.finality,
            batch_items_max=10**6,
            batch_age_max_seconds=plan.batch_age_max_seconds,
        )
        if plan.partner is not None and secret is not None:
            partners.add(session, row.id, plan.partner, secret)
    return deployment, row.id


def _write_attestors(
    folder: Path, urls: Urls, plan: Plan, chain_id: int, deployment: Deployment, secret: str | None
) -> None:
    """Each attestor's configuration and partner keys."""
    scheme = {"scheme": "standard-webhooks", "secrets": [secret]}
    known = {deployment.distributor: {plan.partner: scheme}} if plan.partner is not None else {}
    program = {
        "distributor": deployment.distributor,
        "instance": plan.instance,
        "first_block": deployment.block,
        "finality": plan.finality,
    }
    for i, (host, port) in enumerate(plan.attestor_hosts):
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
            "programs": [program],
        }
        own = folder / f"attestor-{i}"
        write_private(own / "partners.json", json.dumps(known, indent=2))
        write_private(own / "attestor.json", json.dumps(config, indent=2))


def _attestor_key(folder: Path, token: str) -> str:
    """An attestor's key, password and token in its own folder; returns its address."""
    password = secrets.token_urlsafe(24)
    private_folder(folder)
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
    test_token_decimals: int = TEST_TOKEN_DECIMALS,
    progress: Progress = lambda _: None,
    stack: Stack | None = None,
    given: Given | None = None,
) -> Local:
    """Start servers, prepare a program and start its services.

    After a failure, and after a signal that raised KeyboardInterrupt, none of them runs. Give
    `stack` to close it yourself.

    Raises: StackError, and the errors of a deployment.
    """
    private_folder(folder)
    stack, given = stack or Stack(folder), given or Given()
    try:
        progress("PostgreSQL")
        database_url = given.database or stack.start_postgres()
        progress("Redis")
        redis_url = given.redis or stack.start_redis()
        progress("Anvil")
        urls = Urls(database_url, redis_url, given.rpc or stack.start_chain())
        hosts = [("127.0.0.1", free_port()) for _ in range(ATTESTORS)]
        plan = Plan(
            program=program,
            partner=partner,
            instance=instance,
            attestor_urls=[f"http://{host}:{port}" for host, port in hosts],
            attestor_hosts=hosts,
            batch_age_max_seconds=batch_age_max_seconds,
            tick_seconds=tick_seconds,
            test_token_decimals=test_token_decimals,
        )
        prepared = prepare(folder, urls, plan, progress)
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

"""One chain with the real contracts, whose attestors are three keys and a contract (2 of 4 must
sign), and the coordinator's own database."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from eth_account.signers.local import LocalAccount
from sqlalchemy import select

from backend.attestation.envelope import ensure_envelope
from backend.attestation.models import Attestation
from backend.attestation.service import collect
from backend.batch.models import Batch
from backend.chain.deploy import Deployer
from backend.chain.distributor import Distributor
from backend.context import Context
from backend.program.models import Program
from backend.signer.keystore import KeystoreSigner
from tests.attestation.servers import Answer, serving
from tests.support.anvil import anvil
from tests.support.engine import Engine, fresh_engine, report, settings
from tests.support.program import Program as Deployed
from tests.support.program import real_program

TIMEOUT_SECONDS = 3


@dataclass
class Coordinator:
    """The coordinator, a program of its own, and a closed batch of it, whose envelope is fixed."""

    engine: Engine
    context: Context
    program: Program
    batch: Batch
    deployed: Deployed
    wallet: str
    holder: LocalAccount
    landed: Batch
    """The batch before it, which is final."""
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def keys(self) -> list[LocalAccount]:
        return self.deployed.attestor_keys

    def attestors(self, *responses: object) -> list:
        """These are the program's attestors from now on; returns their servers."""
        servers = [self.stack.enter_context(serving(respond)) for respond in responses]
        with self.context.database.transaction() as session:
            session.get_one(Program, self.program.id).attestors = [server.url for server in servers]
        self.program.attestors = [server.url for server in servers]
        return servers

    def signing(
        self, key: LocalAccount, address: str | None = None, digest: bytes | None = None
    ) -> object:
        """An attestor that signs with `key` what it is asked to, in the name of `address`."""

        def respond(*_: object) -> Answer:
            return 200, self.answer(key, address, digest)

        return respond

    def answer(
        self, key: LocalAccount, address: str | None = None, digest: bytes | None = None
    ) -> dict[str, str]:
        signed = self.batch.digest if digest is None else digest
        signature = bytes(key.unsafe_sign_hash(signed).signature)
        return {
            "attestor": address or key.address,
            "digest": "0x" + signed.hex(),
            "signature": "0x" + signature.hex(),
        }

    def collect(self) -> None:
        collect(self.context, self.program, self.batch.id)

    def row(self) -> Batch:
        with self.context.database.transaction() as session:
            return session.get_one(Batch, self.batch.id)

    def stored(self) -> set[str]:
        """Whose signatures lie in the database."""
        with self.context.database.transaction() as session:
            return set(
                session.scalars(
                    select(Attestation.attestor).where(Attestation.batch_id == self.batch.id)
                )
            )


class OneDistributor(Context):
    """Every program of the tests' database stands for the one that is deployed."""

    address: str

    def distributor(self, program: Program) -> Distributor:
        return Distributor(self.node, self.address)


@pytest.fixture(scope="package")
def world() -> Iterator[tuple]:
    """(engine, context, deployed program, EIP-1271 attestor, its holder)."""
    with anvil() as chain, fresh_engine() as engine:
        holder = chain.key(1)
        wallet, _ = Deployer(chain.node, KeystoreSigner(chain.key(0))).create(
            "Wallet1271", holder.address
        )
        deployed = real_program(chain, more_attestors=[wallet])
        context = OneDistributor(
            settings(engine.url, rpc_url=chain.url, attestor_timeout_seconds=TIMEOUT_SECONDS)
        )
        context.address = deployed.address
        yield engine, context, deployed, wallet, holder
        context.close()


@pytest.fixture
def coordinator(world: tuple) -> Iterator[Coordinator]:
    """A coordinator with a batch to be signed, of a program that nobody else uses; the test names
    its attestors."""
    engine, context, deployed, wallet, holder = world
    program = engine.program()
    engine.take_in(program, [report("first")])
    [landed] = engine.settle(program)
    engine.take_in(program, [report("second")])
    [batch] = engine.close(program)
    ensure_envelope(context, program, batch.id)
    with engine.database.transaction() as session:
        batch = session.get_one(Batch, batch.id)
    made = Coordinator(engine, context, program, batch, deployed, wallet, holder, landed)
    with made.stack:
        yield made

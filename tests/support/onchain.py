"""A program that stands both in a database and on a test chain, without services: what the database
closes is posted as it is, and booked."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import select

from backend.account.models import Account
from backend.attestation.models import Attestation
from backend.batch.models import Batch, BatchState
from backend.chain.artifacts import artifact
from backend.chain.deploy import Deployer
from backend.chain.distributor import Distributor
from backend.context import Context
from backend.interaction.models import Interaction
from backend.program.models import Program as Row
from backend.program.service import register
from backend.settlement.indexer import index
from backend.signer import keystore
from backend.signer.keystore import KeystoreSigner
from prover.groth16 import dev_key
from prover.wire import Proof
from tests.support.anvil import Anvil
from tests.support.engine import Engine, address, report, settings
from tests.support.program import DEV, FAR, Posting, Program, real_program

PASSWORD = "test"
_numbers = count(1)
OWNER, PAYER, STRANGER = 0, 5, 7
"""Which of the chain's rich keys is whose."""


@dataclass
class OnChain:
    """One program. `context` is that of the operator's commands; its payer is the chain's key
    PAYER."""

    engine: Engine
    chain: Anvil
    program: Program
    context: Context
    id: int

    @property
    def row(self) -> Row:
        with self.engine.database.transaction() as session:
            return session.get_one(Row, self.id)

    def reward(self, rewards: Sequence[tuple[str, int]]) -> None:
        """Interactions of (name, amount), booked, closed, posted, and booked as final."""
        start = self.engine.budget(self.row)
        self.engine.take_in(
            self.row,
            [
                report(f"event {start} {i}", name, amount)
                for i, (name, amount) in enumerate(rewards)
            ],
        )
        self.post()
        index(self.context, self.id)

    def post(self) -> None:
        """Close what is open and post it, in the ledger's own words; nothing is booked of it."""
        self.post_batches(self.engine.close(self.row))

    def post_batches(self, batches: Sequence[Batch]) -> None:
        """Post closed batches, in the order of their buckets."""
        for batch in batches:
            posting = self.plan(batch)
            assert self.program.send(self.program.calldata(posting))["status"] == 1
            self.program.book(posting)

    def plan(self, batch: Batch, valid_until: int = FAR) -> Posting:
        """A closed batch as it may be posted, proven and signed by two attestors."""
        with self.engine.database.transaction() as session:
            query = select(Interaction.account, Interaction.amount).where(
                Interaction.batch_id == batch.id
            )
            items = [
                (account, amount)
                for account, amount in session.execute(query.order_by(Interaction.item_index))
            ]
        return self.program.plan(
            batch.bucket,
            items,
            valid_until=valid_until,
            interactions_root=batch.interactions_root,
            ledger_head=batch.ledger_head,
        )

    def prove(self, batch: Batch, valid_until: int = FAR) -> Posting:
        """Make a closed batch proven, with a real proof and the signatures of all three
        attestors."""
        posting = self.plan(batch, valid_until)
        assert posting.batch.new_root == batch.new_root
        with self.engine.database.transaction() as session:
            row = session.get_one(Batch, batch.id)
            row.state, row.proof = BatchState.PROVEN, Proof.from_words(posting.proof).to_bytes()
            row.digest, row.valid_until, row.attestor_epoch = posting.digest, valid_until, 1
            for one in self.program.sign(posting.digest, self.program.attestor_keys):
                session.add(
                    Attestation(
                        batch_id=batch.id,
                        attestor=one.attestor,
                        digest=posting.digest,
                        signature=one.signature,
                    )
                )
        return posting

    def fund(self, amount: int) -> None:
        """On chain and in the ledger."""
        self.program.fund(amount)
        index(self.context, self.id)

    def call(
        self,
        function: str,
        *arguments: object,
        to: str | None = None,
        contract: str = "Distributor",
    ) -> Any:
        """A call by the owner."""
        w3, target = self.chain.w3, to or self.program.address
        data = w3.eth.contract(target, abi=artifact(contract).abi).encode_abi(
            function, args=list(arguments)
        )
        receipt = self.program.send(bytes.fromhex(data.removeprefix("0x")), to=target)
        assert receipt["status"] == 1
        return receipt

    def token(self, function: str, *arguments: object) -> None:
        """A call of the hostile token."""
        self.call(function, *arguments, to=self.program.deployment.token, contract="HostileToken")

    def balance(self, name: str) -> int:
        """What an account holds of the token."""
        abi = artifact("HostileToken").abi
        return (
            self.chain.w3.eth.contract(self.program.deployment.token, abi=abi)
            .functions.balanceOf(address(name))
            .call()
        )

    def account(self, name: str) -> Account:
        with self.engine.database.transaction() as session:
            return session.scalars(
                select(Account).where(
                    Account.program_id == self.id, Account.address == address(name)
                )
            ).one()

    def batches(self) -> list[Batch]:
        with self.engine.database.transaction() as session:
            return list(
                session.scalars(select(Batch).where(Batch.program_id == self.id).order_by(Batch.id))
            )


@contextmanager
def on_chain(
    engine: Engine, chain: Anvil, folder: Path, funded: int = 10**9, **options: int
) -> Iterator[OnChain]:
    """A fresh program over a hostile token that behaves until it is told not to, owned and guarded
    by the chain's key OWNER; `options` as for `deploy_program`."""
    token, _ = Deployer(chain.node, KeystoreSigner(chain.key(OWNER))).create("HostileToken")
    program = real_program(chain, token=token, guardian=chain.key(OWNER).address, **options)
    distributor = Distributor(chain.node, program.address)
    for name, number in (("payer", PAYER), ("poster", STRANGER)):
        if not (folder / f"{name}.json").exists():
            key = bytes(chain.key(number).key)
            keystore.create(
                folder / f"{name}.json", PASSWORD, scrypt_n=keystore.SCRYPT_N_LOCAL, private_key=key
            )
    config = settings(
        engine.url,
        rpc_url=chain.url,
        keystore=folder / "poster.json",
        payer_keystore=folder / "payer.json",
        keystore_password=PASSWORD,
        owner_keystore=folder / "poster.json",
    )
    with engine.database.transaction() as session:
        row = register(
            session,
            distributor,
            f"on-chain-{next(_numbers)}",
            program.deployment.block,
            dev_key(DEV).verifying_key,
            ["http://127.0.0.1:1"],
            finality="latest",
            batch_items_max=32,
            batch_age_max_seconds=0,
        )
    engine.partner(row, "adnet")
    context = Context(config)
    try:
        made = OnChain(engine, chain, program, context, row.id)
        made.fund(funded)
        yield made
    finally:
        context.close()

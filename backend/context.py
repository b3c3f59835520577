"""The resources of one process: the database, the node, the keys and the provers.

Tasks and commands make a Context. Each resource is opened on first use.
"""

from functools import cached_property
from pathlib import Path

from backend.chain.deploy import deployed_key
from backend.chain.distributor import Distributor
from backend.chain.fees import FeePolicy
from backend.chain.node import Node
from backend.chain.outbox_deployer import OutboxDeployer
from backend.chain.sender import Sender
from backend.chain.web3_node import connect
from backend.config import Settings
from backend.errors import Conflict, Invalid
from backend.kit.db import Database
from backend.program.models import Program
from backend.proof.keys import ProgramKeys
from backend.proof.service import Provers
from backend.signer.factory import open_signer

WRONG_CHAIN = "wrong_chain"
"""Code of the error for a program on another chain than the node."""


class Context:
    """One process's resources. Close it when done."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.database_url)
        self.provers = Provers(settings.rapidsnark, settings.zkey)
        self.keys = ProgramKeys(settings, lambda verifier: deployed_key(self.node, verifier))

    @cached_property
    def node(self) -> Node:
        """The connection to the chain's node."""
        return connect(self.settings.rpc_url)

    @cached_property
    def chain_id(self) -> int:
        """The id of the node's chain. Raises Unavailable."""
        return self.node.chain_id()

    def require_chain(self, program: Program) -> None:
        """Raises Conflict, which names both chains, if the program is on another chain than the
        node: a database may hold programs of several chains."""
        if program.chain_id != self.chain_id:
            message = (
                f"program {program.name} is on chain {program.chain_id}, the node of RPC_URL is "
                f"on chain {self.chain_id}"
            )
            raise Conflict(message, "program", WRONG_CHAIN)

    def distributor(self, program: Program) -> Distributor:
        """The program's contract. Raises Conflict for a program on another chain than the node."""
        self.require_chain(program)
        return Distributor(self.node, program.distributor)

    @cached_property
    def poster(self) -> Sender:
        """Sends batches. Its key pays gas and can do nothing else."""
        return self._sender(self.settings.keystore)

    @cached_property
    def payer(self) -> Sender:
        """Pushes claims."""
        return (
            self._sender(self.settings.payer_keystore)
            if self.settings.payer_keystore
            else self.poster
        )

    @cached_property
    def owner(self) -> Sender:
        """Sends what an operator's commands send: deployments, funding. Raises Invalid without its
        setting: another key, whose nonces are the workers', is never taken instead."""
        path = self.settings.owner_keystore
        if path is None:
            raise Invalid(
                "owner_keystore: expected GUERDON_OWNER_KEYSTORE, the keystore of the key that "
                "deploys and funds; `guerdon keystore new FILE` makes one",
                "owner_keystore",
            )
        return self._sender(path)

    def deployer(self, command: str, finality: str) -> OutboxDeployer:
        """Sends `command`'s transactions from the owner's key."""
        return OutboxDeployer(self.database, self.node, self.owner, command, finality)

    @property
    def fees(self) -> FeePolicy:
        """What the settings let a transaction bid for gas."""
        config = self.settings
        return FeePolicy(
            config.max_fee_per_gas_wei, config.priority_fee_min_wei, config.priority_fee_max_wei
        )

    def _sender(self, path: Path) -> Sender:
        signer = open_signer(path, self.settings.keystore_password.get_secret_value())
        return Sender(self.node, signer, self.fees, self.chain_id)

    def close(self) -> None:
        self.provers.close()
        self.database.dispose()

"""Which key a program's proofs are made with: that of its deployed verifier, read from the chain."""

from web3 import Web3

from backend.chain.deploy import deployed_key
from backend.config import Settings
from backend.errors import GuerdonError
from backend.program.models import Program
from prover.circuit import load_instance
from prover.key_store import key_with
from prover.keys import KeyFolder, SetupError


class UnfitKey(GuerdonError):
    """No proof can be made for a program until its operator has looked at the keys; the message says what to do."""

    code = "unfit_key"


class ProgramKeys:
    """Keys of programs, each found and checked against its verifier once a process: a verifier is immutable."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys: dict[tuple[int, str], KeyFolder] = {}

    def get(self, w3: Web3, program: Program) -> KeyFolder:
        """The key that the program's deployed verifier accepts proofs under.

        Raises:
            DeploymentMismatch: the verifier's code is not ours.
            UnfitKey: GUERDON_KEY is another key, or none on this machine is it; or it is no ceremony's and the chain is not local.
            Unavailable: the node does not answer.
        """
        at = program.chain_id, program.verifier
        if at not in self._keys:
            try:
                key = key_with(deployed_key(w3, program.verifier), load_instance(program.instance), self._settings.key)
                key.require_allowed_on(program.chain_id, self._settings.allow_single_party_key_that_can_forge_everything)
            except SetupError as error:
                raise UnfitKey(str(error)) from error
            self._keys[at] = key
        return self._keys[at]

"""The key of a program's proofs: the key of its deployed verifier, read from the chain."""

from collections.abc import Callable, Iterable

from backend.config import Settings
from backend.errors import GuerdonError
from backend.program.models import Program
from prover.circuit import load_instance
from prover.key_store import key_with
from prover.keys import KeyFolder, SetupError, VerifyingKey


class UnfitKey(GuerdonError):
    """No proof can be made for a program until its operator changes the keys.

    The message says what to do.
    """

    code = "unfit_key"


class ProgramKeys:
    """The keys of programs.

    Each key is found and checked against its verifier once in a process: a verifier is immutable.
    """

    def __init__(self, settings: Settings, deployed_key: Callable[[str], VerifyingKey]) -> None:
        """`deployed_key` reads the key of the verifier at an address, as
        `backend.chain.deploy.deployed_key` does."""
        self._settings, self._deployed_key = settings, deployed_key
        self._keys: dict[tuple[int, str], KeyFolder] = {}

    def get(self, program: Program) -> KeyFolder:
        """The key that the program's deployed verifier accepts proofs under.

        Raises:
            DeploymentMismatch: the verifier's code is not ours.
            UnfitKey: GUERDON_KEY is another key, or none on this machine is it; or it is no
            ceremony's and the chain is not local.
            Unavailable: the node does not answer.
        """
        at = program.chain_id, program.verifier
        if at not in self._keys:
            try:
                key = key_with(
                    self._deployed_key(program.verifier),
                    load_instance(program.instance),
                    self._settings.key,
                )
                key.require_allowed_on(
                    program.chain_id,
                    self._settings.allow_single_party_key_that_can_forge_everything,
                )
            except SetupError as error:
                raise UnfitKey(str(error)) from error
            self._keys[at] = key
        return self._keys[at]

    def unfit(self, programs: Iterable[Program]) -> dict[str, str]:
        """Name -> reason, of each program that nothing could be proven for now."""
        reasons = {}
        for program in programs:
            try:
                self.get(program)
            except GuerdonError as error:
                reasons[program.name] = error.message
        return reasons

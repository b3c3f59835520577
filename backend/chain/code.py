"""Deployed code against compiled code: equal byte for byte outside immutables, whose values are
read from where they stand."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from eth_abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils import keccak, to_canonical_address, to_checksum_address

from backend.chain.artifacts import Artifact, artifact, first_edition
from backend.chain.distributor import ProgramInfo
from prover.eip712 import DOMAIN_NAME, Domain
from prover.tree import capacity, zero_root


@dataclass(frozen=True)
class CodeMatch:
    """`immutables` is name -> value (32 bytes) as found; `differences` says in words what is not as
    compiled, empty if all is."""

    immutables: dict[str, bytes] = field(default_factory=dict)
    differences: tuple[str, ...] = ()

    def integer(self, name: str) -> int:
        """An immutable as an unsigned integer. Raises KeyError for an unknown name."""
        return int.from_bytes(self.immutables[name], "big")


FIRST = "1"
"""Version of the EIP-712 domain of a first-edition Distributor."""


def compiled(name: str, version: str) -> Artifact:
    """The contract called `name` of an edition; of the current one for a version that is none."""
    return first_edition()[name] if version == FIRST else artifact(name)


def match_code(artifact: Artifact, code: bytes) -> CodeMatch:
    """Compare runtime `code` with what the artifact compiles to.

    An immutable that is used at several places must have one value: code that was not made by the
    compiled constructor may differ there.
    """
    expected = artifact.deployed_bytecode
    if len(code) != len(expected):
        return CodeMatch(
            differences=(f"{artifact.name}: {len(code)} bytes of code, expected {len(expected)}",)
        )
    blanked = bytearray(code)
    immutables: dict[str, bytes] = {}
    differences = []
    for key, places in artifact.immutable_references.items():
        values = {bytes(code[start : start + length]) for start, length in places}
        name = next((name for name, named in artifact.immutables.items() if named == places), key)
        immutables[name] = next(iter(values))
        if len(values) > 1:
            differences.append(f"{artifact.name}: immutable {name} has {len(values)} values")
        for start, length in places:
            blanked[start : start + length] = bytes(length)
    first = next(
        (i for i, (a, b) in enumerate(zip(blanked, expected, strict=True)) if a != b), None
    )
    if first is not None:
        differences.append(f"{artifact.name}: code differs from byte {first} on")
    return CodeMatch(immutables, tuple(differences))


KEY_IMMUTABLES = (
    "alphaX",
    "alphaY",
    "betaX1",
    "betaX0",
    "betaY1",
    "betaY0",
    "gammaX1",
    "gammaX0",
    "gammaY1",
    "gammaY0",
    "deltaX1",
    "deltaX0",
    "deltaY1",
    "deltaY0",
    "ic0X",
    "ic0Y",
    "ic1X",
    "ic1Y",
    "ic2X",
    "ic2Y",
    "ic3X",
    "ic3Y",
    "ic4X",
    "ic4Y",
    "ic5X",
    "ic5Y",
)
"""Groth16Verifier's immutables in the order of its constructor's words, which is that of
`VerifyingKey.to_words`."""


def match_verifier(code: bytes, version: str) -> tuple[list[int], tuple[str, ...]]:
    """(the key's words as they stand in a verifier's code, differences); no words if the code is
    not our verifier's."""
    match = match_code(compiled("Groth16Verifier", version), code)
    if match.differences:
        return [], match.differences
    return [match.integer(name) for name in KEY_IMMUTABLES], ()


def match_hasher(code: bytes, version: str) -> tuple[str, ...]:
    """In what a hasher's code is not our Poseidon2's."""
    return match_code(compiled("Poseidon2", version), code).differences


def match_distributor(code: bytes, info: ProgramInfo, distributor: str) -> tuple[str, ...]:
    """In what a Distributor's code is not ours with the immutables that our constructor would have
    set."""
    match = match_code(compiled("Distributor", info.version), code)
    if match.differences:
        return match.differences
    named = {
        "token": int(info.token, 16),
        "verifier": int(info.verifier, 16),
        "hasher": int(info.hasher, 16),
        "levels": info.levels,
        "slots": capacity(info.levels),
        "_zeroRoot": zero_root(info.levels),
    } | ({"families": info.families} if info.version == FIRST else {})
    wrong = [name for name, value in named.items() if match.integer(name) != value]
    # OpenZeppelin's EIP712 holds the rest; a compiler numbers immutables in the order of their
    # declaration.
    rest = [
        match.immutables[key] for key in sorted(match.immutables.keys() - named.keys(), key=int)
    ]
    if rest != _domain_immutables(Domain(info.chain_id, distributor, info.version)):
        wrong.append("the EIP-712 domain")
    return tuple(f"Distributor: {name} is not what the constructor sets" for name in wrong)


FIRST_CONFIG = "(address,address,address,uint8,uint32,address,address,address[],uint16)"
CONFIG = FIRST_CONFIG.replace(")", ",uint96)")
"""The constructor's Config: token, verifier, hasher, levels, families, owner, guardian, attestors,
threshold; since the second edition dailyLimit."""


def match_creation(
    init_code: bytes, info: ProgramInfo, attestors: Sequence[str], threshold: int
) -> tuple[str, ...]:
    """In what the code that created a Distributor is not our constructor's, called with this
    program's configuration and these attestors.

    Whoever creates a contract chooses the code that runs first, and that can write any storage
    before it leaves our runtime code behind. If it was our constructor, all storage follows from
    our code. Owner, guardian, families and daily limit may have changed since, by its rules, so
    they are not compared.
    """
    expected_code = compiled("Distributor", info.version).bytecode
    shape = FIRST_CONFIG if info.version == FIRST else CONFIG
    if not init_code.startswith(expected_code):
        return (
            "Distributor: created by other code than our constructor, which can have written "
            "any storage",
        )
    arguments = init_code[len(expected_code) :]
    try:
        (config,) = decode([shape], arguments)
    except (DecodingError, OverflowError, ValueError) as error:
        return (
            f"Distributor: the constructor's arguments cannot be read ({type(error).__name__})",
        )
    if encode([shape], [config]) != arguments:
        return ("Distributor: the constructor's arguments are not plainly encoded",)
    token, verifier, hasher, levels, families, _, _, first_attestors, first_threshold = config[:9]
    given = {
        "token": int(token, 16),
        "verifier": int(verifier, 16),
        "hasher": int(hasher, 16),
        "levels": levels,
        "attestors": tuple(to_checksum_address(attestor) for attestor in first_attestors),
        "threshold": first_threshold,
    }
    expected = {
        "token": int(info.token, 16),
        "verifier": int(info.verifier, 16),
        "hasher": int(info.hasher, 16),
        "levels": info.levels,
        "attestors": tuple(attestors),
        "threshold": threshold,
    }
    if info.version == FIRST:  # They never change there.
        given["families"], expected["families"] = families, info.families
    return tuple(
        f"Distributor: created with another {name}"
        for name, value in expected.items()
        if given[name] != value
    )


def _domain_immutables(domain: Domain) -> list[bytes]:
    """EIP712.sol: _cachedDomainSeparator, _cachedChainId, _cachedThis, _hashedName, _hashedVersion,
    _name, _version."""
    short = [
        text.encode().ljust(31, b"\0") + bytes([len(text)])
        for text in (DOMAIN_NAME, domain.version)
    ]
    return [
        domain.separator,
        domain.chain_id.to_bytes(32, "big"),
        to_canonical_address(domain.distributor).rjust(32, b"\0"),
        keccak(text=DOMAIN_NAME),
        keccak(text=domain.version),
        *short,
    ]

"""prover/poseidon2.py"""

from hypothesis import given
from hypothesis import strategies as st

from prover import poseidon2
from prover.field import P
from tests.prover import reference

states = st.tuples(
    *[st.one_of(st.integers(0, 3), st.integers(P - 3, P - 1), st.integers(0, P - 1))] * 4
)


def test_round_constants_are_generated() -> None:
    """88 field elements, a fresh run of the LFSR giving the same; the first is the one that
    HorizenLabs' instance lists."""
    constants = poseidon2.generate_round_constants()
    assert constants == poseidon2.ROUND_CONSTANTS
    assert len(constants) == len(set(constants)) == 88
    assert all(0 < constant < P for constant in constants)
    assert constants[0] == 0x19B849F69450B06848DA1D39BD5E4A4302BB86744EDC26238B0878E269ED23E5


def test_protocol_vectors() -> None:
    """The vectors of PROTOCOL section 2, as literals."""
    assert poseidon2.permute(0, 1, 2, 3) == (
        0x01BD538C2EE014ED5141B29E9AE240BF8DB3FE5B9A38629A9647CF8D76C01737,
        0x239B62E7DB98AA3A2A8F6A0D2FA1709E7A35959AA6C7034814D9DAA90CBAC662,
        0x04CBB44C61D928ED06808456BF758CBF0C18D1E15A7B6DBC8245FA7515D5E3CB,
        0x2E11C5CFF2A22C64D01304B778D78F6998EFF1AB73163A35603F54794C30847A,
    )
    assert (
        poseidon2.permute(0, 0, 0, 0)[0]
        == 0x18DFB8DC9B82229CFF974EFEFC8DF78B1CE96D9D844236B496785C698BC6732E
    )
    assert (
        poseidon2.h4(1, 2, 3, 4)
        == 0x224785A48A72C75E2CBB698143E71D5D41BD89A2B9A7185871E39A54CE5785B2
    )
    assert (
        poseidon2.h4(*[P - 1] * 4)
        == 0x1B18E6CA21A1E9B15D65F0B5861EDE5FF20DB8FA3722531823D0C817D69D945C
    )


@given(states)
def test_agrees_with_the_matrices_multiplied_out(state: tuple[int, ...]) -> None:
    """The shortcuts for the matrices give the plain products."""
    assert list(poseidon2.permute(*state)) == reference.permute(state)
    assert poseidon2.h4(*state) == reference.h4(state)


@given(states, st.permutations(range(4)))
def test_order_matters(state: tuple[int, ...], order: list[int]) -> None:
    """Reordered inputs hash alike only if they are alike."""
    shuffled = tuple(state[i] for i in order)
    assert (poseidon2.h4(*shuffled) == poseidon2.h4(*state)) == (shuffled == state)

"""prover/field.py"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prover.field import P, Q, horner, inverse, require_element

elements = st.integers(0, P - 1)


@pytest.mark.parametrize("value", [-1, P, P + 1, 2**256 - 1])
def test_a_number_outside_the_field_is_refused_by_name(value: int) -> None:
    """The message names the value's name and says what was expected."""
    with pytest.raises(ValueError, match=r"newRoot: expected a field element \(0 <= x < p\)"):
        require_element(value, "newRoot")


@pytest.mark.parametrize("value", [0, P, -P])
def test_zero_has_no_inverse(value: int) -> None:
    """Any representative of 0 is refused, not turned into 0."""
    with pytest.raises(ZeroDivisionError):
        inverse(value)


@pytest.mark.parametrize("value", [0, 1, P - 1])
def test_elements_pass_through(value: int) -> None:
    """The bounds themselves are elements."""
    assert require_element(value, "x") == value


def test_the_fields_are_those_of_bn254() -> None:
    """P and Q by the curve's defining polynomials in u = 4965661367192848881 (alt_bn128,
    EIP-196)."""
    u = 4965661367192848881
    assert 36 * u**4 + 36 * u**3 + 18 * u**2 + 6 * u + 1 == P
    assert 36 * u**4 + 36 * u**3 + 24 * u**2 + 6 * u + 1 == Q


@given(st.integers(1, P - 1))
def test_inverse(value: int) -> None:
    """x * inverse(x) = 1."""
    assert value * inverse(value) % P == 1


@given(st.lists(elements, max_size=12), elements)
def test_horner_is_the_sum_of_powers(coefficients: list[int], point: int) -> None:
    """Horner's rule agrees with the sum term by term; no coefficients give 0."""
    assert (
        horner(coefficients, point)
        == sum(c * pow(point, i, P) for i, c in enumerate(coefficients)) % P
    )

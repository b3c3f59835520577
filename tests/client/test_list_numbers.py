"""Amounts in the forms that spreadsheets write: read exactly, or refused with the form named."""

import pytest

from backend.client.list_numbers import (
    NumberFault,
    NumberForm,
    Unsafe,
    looks_like_number,
    read_amount,
    require_one_meaning,
)

F = NumberForm
NBSP, THIN, NARROW = "\u00a0", "\u2009", "\u202f"


@pytest.mark.parametrize(
    ("cell", "form", "hundredths"),
    [
        ("1250", F.PLAIN, 125000),
        ("1250.5", F.PLAIN, 125050),
        ("0012.50", F.PLAIN, 1250),
        ("1250,5", F.DECIMAL_COMMA, 125050),
        ("1,250.00", F.COMMA_GROUPS, 125000),
        ("1,234,567.8", F.COMMA_GROUPS, 123456780),
        ("1250", F.COMMA_GROUPS, 125000),
        ("1.250,5", F.POINT_GROUPS, 125050),
        ("1.250", F.POINT_GROUPS, 125000),
        (f"1{NBSP}250,5", F.SPACE_GROUPS, 125050),
        (f"1{NARROW}250{NARROW}000,5", F.SPACE_GROUPS, 125000050),
        (f"1{THIN}250.5", F.SPACE_GROUPS_POINT, 125050),
        ("1'250.5", F.APOSTROPHE_GROUPS, 125050),
        ("1\u2019250.5", F.APOSTROPHE_GROUPS, 125050),
        ("12,34,567.8", F.INDIAN_GROUPS, 123456780),
        ("1,250.5", F.INDIAN_GROUPS, 125050),
    ],
)
def test_every_form_is_read_if_it_is_named(cell: str, form: NumberForm, hundredths: int) -> None:
    """Exactly, whatever groups its thousands."""
    assert read_amount(cell, form, 2) == hundredths


@pytest.mark.parametrize(
    ("cell", "form"),
    [
        ("1,25", F.COMMA_GROUPS),
        ("1,2500", F.COMMA_GROUPS),
        ("12345,678", F.COMMA_GROUPS),
        (",250", F.COMMA_GROUPS),
        ("1.250,5", F.COMMA_GROUPS),
        ("1.5", F.POINT_GROUPS),
        ("1.2500", F.POINT_GROUPS),
        ("12,34,567", F.COMMA_GROUPS),
        ("123,456", F.INDIAN_GROUPS),
        ("1 25", F.SPACE_GROUPS),
        ("1,250,5", F.SPACE_GROUPS),
        ("1 250,5", F.PLAIN),
        ("1_250", F.PLAIN),
    ],
)
def test_another_form_is_not_bent_into_it(cell: str, form: NumberForm) -> None:
    """A cell that does not keep to the named form is refused."""
    with pytest.raises(NumberFault, match=r"form that is read|can be"):
        read_amount(cell, form, 18)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("1,250.00", r'form that is read is 1234.5.*"1,234.5"'),
        ("1,250", r'can be 1.25 or 1250: .*"1234,5", "1,234.5"'),
        ("1.250,5", r'form that is read is 1234.5.*"1.234,5"'),
        ("1,5", r'"1234,5"'),
        (f"1{NBSP}250,5", r'"1 234,5"'),
        ("1'250.5", r'"1\'234.5"'),
        ("12,34,567", r'"12,34,567.8"'),
        ("1.05E+23", "scientific notation.*digits.*lost"),
        ("1e5", "scientific notation"),
        ("1,05E+23", "scientific notation"),
        ("-5", "negative"),
        ("\u22125", "negative"),
        ("(5)", "negative"),
        ("5-", "negative"),
        ("+5", "sign"),
        ("5%", "percentage"),
        ("0x10", "hexadecimal"),
        ("$5", "currency"),
        ("5 €", "currency"),
        ("USD 5", "unit beside"),
        ("5 OP", "unit beside"),
        ("\uff11\uff12\uff15\uff10", "not ASCII: write it as 1250"),
        ("\u0661\u0662", "not ASCII|is not a number"),
        ("#REF!", "spreadsheet"),
        ("########", "spreadsheet"),
        ('="5"', "formula"),
        ("NaN", "is no number"),
        ("null", "is no number"),
        ("-", "is (no number|negative)"),
        ("", "is empty"),
        (".5", "write 0.5"),
        ("5.", "write 0.5 or 5.0"),
        ("1..5", "is not a number"),
        ("5;6", "is not a number"),
        ("five", "is not a number"),
        ("9" * 79, "more than 78 digits"),
        ("9" * 5000, "more than 78 digits"),
        ("1.1234567", "7 decimal digits, the token has 6"),
    ],
)
def test_what_is_refused_says_why(cell: str, reason: str) -> None:
    """What the cell is, and what to write or to say."""
    with pytest.raises(NumberFault, match=reason):
        read_amount(cell, F.PLAIN, 6)


def test_base_units_have_no_decimals() -> None:
    """1000000.0 may be a data frame's integer or whole tokens: the user must say."""
    for cell in ("1000000.0", "1.5"):
        with pytest.raises(NumberFault, match=r"base units are integers.*--unit tokens"):
            read_amount(cell, F.PLAIN, None)
    assert read_amount("1000000.0", F.PLAIN, 6) == 10**12
    assert read_amount("1,000,000", F.COMMA_GROUPS, None) == 10**6


def test_a_number_that_is_no_text() -> None:
    """A JSON number that may have been rounded is not read."""
    with pytest.raises(NumberFault, match="rounded"):
        read_amount(Unsafe("5", "was rounded"), F.PLAIN, None)


@pytest.mark.parametrize(
    ("cells", "refused"),
    [
        (["1.250", "2.500"], True),
        (["1.250", "950"], True),
        (["1.250"], True),
        (["1.250", "2.5"], False),
        (["1.250", "12345"], True),
        (["0.250", "1.250"], False),
        (["1250.500"], False),
        (["950", "1250"], False),
        ([], False),
    ],
)
def test_points_that_may_group_thousands(cells: list[str], refused: bool) -> None:
    """1.250 alone is 1.25 to one spreadsheet and 1250 to another; one cell that can only be meant
    in one way decides."""
    if refused:
        with pytest.raises(NumberFault, match=r"1\.250 or 1250.*--number-form"):
            require_one_meaning(cells)
    else:
        require_one_meaning(cells)


@pytest.mark.parametrize(
    ("cell", "is_number"),
    [
        *((cell, True) for cell in ("5", "1,250.00", "1.05E+23", "$5", "5%", "-5", "(5)", "5 OP")),
        *((cell, True) for cell in ("\uff11\uff12", f"1{NBSP}250", "USD 5", ".5", "1'000")),
        *(
            (cell, False)
            for cell in ("", "x", "2025-05-01", "01.05.2025", "12:30", "5 days ago", "#1a")
        ),
    ],
)
def test_what_a_person_takes_for_a_number(cell: str, is_number: bool) -> None:
    """Any formatted number; no dates, times or texts."""
    assert looks_like_number(cell) is is_number

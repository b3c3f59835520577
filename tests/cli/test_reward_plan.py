"""`guerdon demo` shows a list's plan, and refuses a list, before it starts anything."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from backend.cli.reward_plan import show_plan
from backend.client.reward_list import RewardList
from backend.kit.token import Token
from backend.main import app
from tests.support.engine import address

LISTS = Path(__file__).parents[1] / "client" / "lists"


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("01_rank_thousands.csv", [], "line 2: column `amount`: '1,250.00'"),
        ("03_value_usd.csv", [], "--amount-column"),
        ("04_pasted_twice.csv", [], "3 addresses are repeated (see above): nothing was sent"),
        ("12_six_decimals.csv", [], "--unit tokens"),
        ("12_six_decimals.csv", ["--decimals", "5"], "6 decimal digits, the token has 5"),
        ("12_six_decimals.csv", ["--unit", "base", "--decimals", "6"], "--unit base and"),
        ("none.csv", [], "none.csv"),
    ],
)
def test_a_demo_refuses_what_is_not_clear(
    name: str, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an import does: nothing is started."""

    def started(*_: object, **__: object) -> None:
        raise AssertionError("the stack was started")

    monkeypatch.setattr("backend.devstack.run._stack", started)
    done = CliRunner().invoke(app, ["demo", "--input", str(LISTS / name), *words])
    assert (done.exit_code, done.stdout) == (1, "")
    assert said in done.stderr
    assert "reported" not in done.stderr


def test_lines_of_repeated_addresses_are_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    """A hundred of them are shown, then how many there are."""
    accounts = [address(i) for i in range(150)]
    rewards = RewardList(
        dict.fromkeys(accounts, 10),
        {account: [i, i + 200] for i, account in enumerate(accounts, start=2)},
        zero=list(range(400, 550)),
        columns=("column `a`", "column `b`"),
        note="read as cp1252",
    )
    show_plan("list.csv", rewards, Token("0x" + "1" * 40, "[red]X", 1))
    shown = capsys.readouterr().err
    assert shown.count("summed") == 100
    assert "… of 150 repeated addresses in all." in shown
    assert "… of 150 such lines in all." in shown
    assert "150 accounts, 150 [red]X in all." in shown
    assert "in base units; read as cp1252." in shown

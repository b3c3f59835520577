"""`guerdon import`: what a list pays is shown and confirmed before anything is sent, and a row is
paid once, whatever happens to the file."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backend.cli import reward_plan
from backend.kit.log import configure
from backend.main import app
from backend.program.models import Program
from tests.support.engine import Api, address

LISTS = Path(__file__).parents[1] / "client" / "lists"
ALICE, BOB, CAROL = address("alice"), address("bob"), address("carol")
FIRST = "0x452572b613C91aB40DF1a2C8E2De04e88C3677b2"
SECOND = "0x4dcc3B1e28697dd60863Dae8Db37F1f4f739f7F9"
Import = Callable[..., Result]


@pytest.fixture
def run(served: Api, monkeypatch: pytest.MonkeyPatch) -> Import:
    """Runs `guerdon import` on a program, as its partner, without a terminal."""

    def invoke(program: Program, file: Path, *words: object, label: str = "may") -> Result:
        monkeypatch.setenv("ADNET_SECRET", served.engine.secrets[program.id, "adnet"])
        url = str(served.http.base_url).rstrip("/")
        source = ["--api-url", url + "/", "--partner", "adnet", "--secret-env", "ADNET_SECRET"]
        result = CliRunner().invoke(
            app, ["import", program.name, str(file), *source, "--label", label, *map(str, words)]
        )
        configure()
        return result

    return invoke


def counts(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def owed(served: Api, program: Program, *accounts: str) -> list[int]:
    return [served.engine.owed(program, account) for account in accounts]


def csv(folder: Path, *rows: str) -> Path:
    file = folder / "list.csv"
    file.write_text("\n".join(["address,amount", *rows]) + "\n")
    return file


def test_what_will_be_paid_is_shown_first(served: Api, run: Import) -> None:
    """Accounts, total, largest and smallest in the token's own decimals, and the columns; without a
    terminal and without --yes nothing is sent."""
    program = served.engine.program(symbol="USDC", decimals=6)
    result = run(program, LISTS / "12_six_decimals.csv", "--unit", "tokens")
    assert (result.exit_code, result.stdout) == (1, "")
    for line in (
        "12_six_decimals.csv: accounts from column `address`, amounts from column `amount`; in "
        "whole tokens.",
        "3 accounts, 1,012.500001 USDC in all.",
        "largest   1,000 USDC  0x62221AaE49Fd44e37D6299389eA7657B3441B78A  (line 4)",
        f"smallest  0.000001 USDC  {SECOND}  (line 3)",
        "error: nothing was sent: say --yes to report these rewards",
    ):
        assert line in result.stderr.splitlines()
    assert owed(served, program, FIRST, SECOND) == [0, 0]
    assert counts(run(program, LISTS / "12_six_decimals.csv", "--decimals", 6, "--yes")) == {
        "accepted": 3
    }
    assert owed(served, program, FIRST, SECOND) == [12_500_000, 1]


def test_somebody_is_asked_at_a_terminal(
    served: Api, run: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No is no; yes sends."""
    program = served.engine.program()
    questions: list[str] = []
    answers = iter([False, True])

    def confirm(question: str, **_: object) -> bool:
        questions.append(question)
        return next(answers)

    monkeypatch.setattr(reward_plan, "at_terminal", lambda: True)
    monkeypatch.setattr("typer.confirm", confirm)
    refused = run(program, LISTS / "05_good.csv")
    assert (refused.exit_code, "nothing was sent" in refused.stderr) == (1, True)
    assert owed(served, program, FIRST) == [0]
    assert counts(run(program, LISTS / "05_good.csv")) == {"accepted": 3}
    assert questions == ["Report these rewards?"] * 2


def test_the_same_list_again_changes_nothing(served: Api, run: Import, tmp_path: Path) -> None:
    """Duplicates, whatever the file's time, name and order; a changed row is refused with both
    amounts, and the others are not held up by it."""
    program = served.engine.program()
    file = tmp_path / "a.csv"
    file.write_bytes((LISTS / "05_good.csv").read_bytes())
    assert counts(run(program, file, "--yes")) == {"accepted": 3}
    os.utime(file, (1, 1))
    assert counts(run(program, file, "--yes")) == {"duplicate": 3}
    header, *rows = file.read_text().splitlines()
    other = tmp_path / "b.csv"
    other.write_text("\n".join([header, *reversed(rows), f"{ALICE},7"]) + "\n")
    assert counts(run(program, other, "--yes", "--unit", "base")) == {"duplicate": 3, "accepted": 1}
    changed = run(program, LISTS / "05b_one_changed.csv", "--yes")
    value = json.loads(changed.stdout)
    assert (changed.exit_code, value["duplicate"], value["rejected"]) == (1, 2, 1)
    [row] = value["rejected_rows"]
    assert (row["line"], row["account"], row["reason"]) == (3, SECOND, "conflict")
    said = f"line 3: {SECOND}: reported before under this label with 2 TRW, now "
    assert said + "2.000000000000000005 TRW" in changed.stderr
    assert owed(served, program, SECOND, ALICE) == [2 * 10**18, 7]
    # Another label is another list.
    assert counts(run(program, file, "--yes", label="june")) == {"accepted": 3}


def test_a_time_that_is_given_is_part_of_the_report(served: Api, run: Import) -> None:
    """Another time than the first is told, and not taken for the same."""
    program = served.engine.program()
    list_ = LISTS / "05_good.csv"
    assert counts(run(program, list_, "--yes", "--occurred-at", 1_700_000_000)) == {"accepted": 3}
    assert counts(run(program, list_, "--yes", "--occurred-at", 1_700_000_000)) == {"duplicate": 3}
    assert counts(run(program, list_, "--yes")) == {"duplicate": 3}
    late = run(program, list_, "--yes", "--occurred-at", 1_700_000_001)
    assert (late.exit_code, json.loads(late.stdout)["rejected"]) == (1, 3)
    assert "occurred_at 1700000000, now 1700000001" in late.stderr
    future = run(program, list_, "--yes", "--occurred-at", 2**34, label="future")
    assert (future.exit_code, "line 2: " + FIRST in future.stderr) == (1, True)
    assert "is in the future" in future.stderr


def test_repeated_addresses_are_confirmed(served: Api, run: Import) -> None:
    """Their lines are told; --yes alone does not pay a list that was pasted twice."""
    program = served.engine.program()
    result = run(program, LISTS / "04_pasted_twice.csv", "--yes")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{FIRST} is on lines 2, 5: summed. It would get 2 TRW." in result.stderr
    assert "3 addresses are repeated" in result.stderr
    assert "--sum-repeated" in result.stderr
    assert owed(served, program, FIRST) == [0]
    summed = run(program, LISTS / "04_pasted_twice.csv", "--yes", "--sum-repeated")
    assert counts(summed) == {"accepted": 3}
    assert owed(served, program, FIRST) == [2 * 10**18]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--decimals", "18"], "--decimals: expected 6, as the token's contract says; got 18"),
        ([], "base units are integers"),
        (["--unit", "base"], "base units are integers"),
        (["--label", ""], "label: expected 1 to 85 visible ASCII characters"),
        (["--label", "x" * 86], "label: expected 1 to 85"),
        (["--label", "mai €"], "label: expected 1 to 85"),
        (["--secret-env", "NOWHERE"], "the variable NOWHERE is not set"),
        (["--unit", "tokens", "--amount-column", "rank"], "no column is called 'rank'"),
    ],
)
def test_what_can_be_known_is_checked_first(
    served: Api, run: Import, words: list[str], said: str
) -> None:
    """Units, label and secret, before anything is sent."""
    program = served.engine.program(symbol="USDC", decimals=6)
    result = run(program, LISTS / "12_six_decimals.csv", "--yes", *words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert owed(served, program, FIRST) == [0]


def test_amounts_that_contradict_the_token(served: Api, run: Import, tmp_path: Path) -> None:
    """A unit that nobody says, a sum beyond the reserve, and what one interaction cannot hold."""
    program = served.engine.program(symbol="USDC", decimals=6, funded=10**6)
    unclear = run(program, csv(tmp_path, f"{ALICE},1000"), "--yes")
    assert "0.001 USDC in all) or whole tokens (1,000 USDC in all)" in unclear.stderr
    absurd = run(program, csv(tmp_path, f"{ALICE},1000000"), "--yes", "--unit", "tokens")
    assert "adds up to 1,000,000 USDC, and the program holds 1 USDC" in absurd.stderr
    large = served.engine.program(symbol="USDC", decimals=6)
    file = csv(tmp_path, f"{ALICE},5", f"{BOB},{2**96}")
    much = run(large, file, "--yes", "--unit", "base")
    assert f"line 3: {BOB}" in much.stderr
    assert "at most" in much.stderr
    for result in (unclear, absurd, much):
        assert (result.exit_code, result.stdout) == (1, "")
    assert owed(served, large, ALICE) == [0]


def test_the_programs_own_contracts_are_not_paid(served: Api, run: Import, tmp_path: Path) -> None:
    """Neither token nor Distributor could ever claim."""
    program = served.engine.program()
    file = csv(tmp_path, f"{program.token},{10**18}", f"{program.distributor},{10**18}")
    result = run(program, file, "--yes")
    assert "line 2: " in result.stderr
    assert f"line 3: {program.distributor} is the program's own Distributor" in result.stderr


def test_what_is_held_is_told(served: Api, run: Import, tmp_path: Path) -> None:
    """Before anything is sent, and after: how much is beyond the funds."""
    program = served.engine.program(funded=10**18)
    file = csv(tmp_path, f"{ALICE},{10**18}", f"{BOB},{10**18}")
    result = run(program, file, "--yes")
    assert counts(result) == {"accepted": 1, "held": 1}
    assert "The program has 1 TRW left" in result.stderr
    assert "1 held (budget_exhausted)" in result.stderr


def test_other_formats(served: Api, run: Import, tmp_path: Path) -> None:
    """Safe's template and Merkl's JSON of the program's token; of another one they are refused."""
    program = served.engine.program(symbol="USDC", decimals=6)
    for name, label in (("safe.csv", "a"), ("merkl.json", "b")):
        file = tmp_path / name
        text = (LISTS / name).read_text()
        file.write_text(text.replace("0x4200000000000000000000000000000000000042", program.token))
        assert counts(run(program, file, "--yes", label=label)) == {"accepted": 2}
        assert owed(served, program, FIRST) == [12_500_000 * (1 + (label == "b"))]
        assert "token" in run(program, LISTS / name, "--yes", label=label).stderr


def test_a_server_that_is_no_guerdon(
    served: Api, run: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page, a wrong program or a wrong secret is told in one line."""
    program = served.engine.program()
    url = str(served.http.base_url).rstrip("/")
    page = run(program, LISTS / "05_good.csv", "--yes", "--api-url", f"{url}/docs")
    assert (page.exit_code, page.stdout) == (1, "")
    assert "Traceback" not in page.output
    wrong = run(program, LISTS / "05_good.csv", "--yes", "--partner", "nobody")
    assert "0 of 3 accounts were reported: run the same command again" in wrong.stderr

"""The gates of `make lint` close: each is seen to refuse a planted fault."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A program of this Python's environment, in a folder."""
    executable = Path(sys.executable).with_name(command[0])
    return subprocess.run(
        [str(executable), *command[1:]], cwd=folder, capture_output=True, text=True
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the Python sources with the project's configuration."""
    for name in ("backend", "prover"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "circuits")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_an_import_that_points_upwards_is_refused(tree: Path) -> None:
    """The contract holds for the tree as it is, and names the line that breaks it."""
    assert run(tree, "lint-imports", "--no-cache").returncode == 0
    with (tree / "backend" / "ledger" / "models.py").open("a") as file:
        file.write("\nfrom backend.batch.models import Batch as Batch\n")
    refused = run(tree, "lint-imports", "--no-cache")
    assert refused.returncode == 1
    assert "backend.ledger.models -> backend.batch.models" in refused.stdout


def test_a_folder_without_a_place_is_refused(tree: Path) -> None:
    """A new folder of the backend is given a layer before it can land."""
    (tree / "backend" / "novelty").mkdir()
    (tree / "backend" / "novelty" / "__init__.py").touch()
    refused = run(tree, "lint-imports", "--no-cache")
    assert refused.returncode == 1
    assert "novelty" in refused.stdout


def test_a_wrong_type_is_refused(tmp_path: Path) -> None:
    """mypy with the project's settings refuses an amount that is a text, and a function that says
    nothing of its types."""
    (tmp_path / "planted.py").write_text(
        "AMOUNT: int = '1000'\n\n\ndef pay(account, amount):\n    return amount\n"
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    config = (tmp_path / "pyproject.toml").read_text()
    packages = 'packages = ["backend", "prover", "scripts"]\n'
    assert packages in config
    (tmp_path / "pyproject.toml").write_text(config.replace(packages, ""))
    refused = run(tmp_path, "mypy", "planted.py")
    assert refused.returncode == 1
    assert "[assignment]" in refused.stdout
    assert "[no-untyped-def]" in refused.stdout

"""scripts/commit_message.py"""

import pytest

from scripts.commit_message import faults


@pytest.mark.parametrize(
    "message",
    [
        "batch: cache Merkle trees behind public proofs\n\nConcurrent claims rebuilt one tree.\n",
        "batch, payout: seed trees from the store",
        "contracts/libraries: name the mask\n# a comment of git's\n",
        "Merge branch 'main' into docs",
    ],
)
def test_a_good_message_passes(message: str) -> None:
    """`area: imperative` passes, with or without a body; so do the subjects that git writes."""
    assert faults(message) == []


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("A proof is handed over", "expected `area: imperative`"),
        ("batch: cache trees.", "expected `area: imperative`"),
        ("batch: " + "x" * 66, "at most 72 characters, got 73"),
        ("batch: cached trees", "expected an imperative, got 'cached'"),
        ("batch: fixes trees", "expected an imperative, got 'fixes'"),
        ("batch: cache trees\nbecause", "expected a blank line"),
        ("", "expected `area: imperative`"),
    ],
)
def test_a_bad_message_is_told_why(message: str, fault: str) -> None:
    """Each rule of the form is checked, and the fault names it."""
    assert any(fault in found for found in faults(message))

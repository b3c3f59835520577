"""The scale of a sparse day, computed from terms: no chain needed."""

import random
from dataclasses import replace

import pytest

from scripts.bench_sparse import (
    PERCENT,
    Cost,
    Day,
    Others,
    Terms,
    accounts_of_a_batch,
    posted_in_sets,
    posted_singly,
    scale,
    set_size,
    table,
    touched,
)
from scripts.sparse_chart import chart

BATCH = Cost(200_000, 1_000, 1_500)
DAY = Day(200, Cost(400_000, 1_000, 1_500), Cost(240_000, 300, 400), BATCH)
TERMS = Terms(2_048, dict.fromkeys(PERCENT, DAY), Cost(130_000, 600, 900))
OTHERS = Others(Cost(34_000, 100, 180), Cost(48_000, 150, 200), Cost(84_000, 900, 1_000))


@pytest.mark.parametrize(
    ("batch", "batches", "held"),
    [
        (BATCH, 1_000, 64),
        (BATCH, 5.5, 5),
        (BATCH, 0.2, 1),
        (replace(BATCH, gas=1_000_000), 1_000, 16),
        (replace(BATCH, size=20_000), 1_000, 6),
        (replace(BATCH, gas=10**9), 1_000, 1),
    ],
)
def test_a_set_holds_what_every_limit_allows(batch: Cost, batches: float, held: int) -> None:
    """The contract's 64, what there is, a transaction's gas and its size; never none."""
    assert set_size(replace(DAY, batch=batch), batches) == held


@pytest.mark.parametrize(("slots", "percent"), [(512, 1), (32, 1), (512, 10), (2_048, 50)])
def test_accounts_of_a_batch_are_those_of_random_days(slots: int, percent: int) -> None:
    """Against days that are drawn: how often a bucket has a batch, and the mean of its accounts."""
    rng = random.Random(f"{slots} {percent}")
    counts = [sum(rng.random() < percent / 100 for _ in range(slots)) for _ in range(300)]
    busy = [count for count in counts if count]
    assert len(busy) / len(counts) == pytest.approx(touched(slots, percent), abs=0.1)
    mean = sum(busy) / len(busy)
    assert accounts_of_a_batch(slots, percent) == pytest.approx(mean, rel=0.05, abs=0.7)


def test_gas_of_a_paid_account() -> None:
    """A single post's among its accounts; a set's with its share of the transaction."""
    assert posted_singly(TERMS, 10)[0] == 400_000 / 200
    assert posted_in_sets(TERMS, 1_000_000, 10)[0] == (240_000 + 64 * 200_000) / 64 / 200


def test_table_and_picture_show_the_figures() -> None:
    """Both take what the scale gives; a claim is shared by ten paid days, a transfer has none."""
    figures = scale(TERMS, TERMS, OTHERS)
    assert figures["sparse_gas_per_account_1m_10pct"] == round((240_000 / 64 + 200_000) / 200)
    claimed, bare = (
        figures[f"sparse_single{part}_gas_per_account_1m_10pct"] for part in ("_claimed", "")
    )
    assert claimed - bare == 13_000
    assert figures["sparse_transfers_claimed_gas_per_account_1m_10pct"] == 34_000
    assert table(figures).row_count == 2 * len(PERCENT)
    assert chart(figures) == chart(dict(figures))
    assert ">34,000</text>" in chart(figures)

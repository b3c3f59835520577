"""The picture of docs/GAS.md from the figures of `make bench`.

    python -m scripts.sparse_chart [build/bench.json] [docs/sparse.svg]

Bars on a logarithmic scale: gas for each account paid on a day, by way and by the share of accounts
that earn. The same figures make the same bytes.
"""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path

from scripts.bench_sparse import PERCENT

ROOT = Path(__file__).parent.parent
WAYS = {
    "single": ("single posts", "#9aa5b1"),
    "sets": ("postBatches", "#4c78a8"),
    "wide": ("postBatches, wide", "#1b4f8f"),
    "transfers": ("ERC-20 transfers", "#e08a3c"),
    "unproven": ("unproven root, with claims", "#c9c2a5"),
}
LEAST, MOST = 100, 100_000
LEFT, WIDTH, BAR, GAP, TOP = 190, 420, 16, 26, 40


def chart(figures: Mapping[str, float]) -> str:
    """The SVG. Raises KeyError: the figures have no sparse section."""
    parts, y = [_text(10, 20, "Gas for each account paid on a day, of 1,000,000", bold=True)], TOP
    for percent in PERCENT:
        parts.append(_text(10, y + 12, f"{percent} % earn", bold=True))
        y += 20
        for way, (label, colour) in WAYS.items():
            claimed = "_claimed" if way == "unproven" else ""
            gas = figures[f"sparse_{way}{claimed}_gas_per_account_1m_{percent}pct"]
            length = round(WIDTH * _place(gas))
            parts.append(_text(LEFT - 8, y + 12, label, anchor="end"))
            parts.append(
                f'<rect x="{LEFT}" y="{y}" width="{length}" height="{BAR}" fill="{colour}"/>'
            )
            parts.append(_text(LEFT + length + 6, y + 12, f"{gas:,.0f}"))
            y += BAR + 4
        y += GAP - BAR
    size = f'width="{LEFT + WIDTH + 80}" height="{y}"'
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def _place(gas: float) -> float:
    """0 at LEAST and below, 1 at MOST and above."""
    share = math.log(max(gas, LEAST) / LEAST) / math.log(MOST / LEAST)
    return min(1.0, share)


def _text(x: int, y: int, text: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{weight}>{text}</text>'


def main(words: list[str]) -> int:
    defaults = [str(ROOT / "build" / "bench.json"), str(ROOT / "docs" / "sparse.svg")]
    source, target = words + defaults[len(words) :]
    Path(target).write_text(chart(json.loads(Path(source).read_text())), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`make fuzz`: random seeds for as long as it is given. Ends with exit code 1 at the first
disagreement, naming the seed and the last calls.

python -m tests.contracts_fuzz.campaign [SECONDS] [--first SEED] [--seed SEED]

plays for 600 seconds unless told otherwise; --first draws all seeds from one; --seed plays one seed
of the Distributor again
"""

import argparse
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count

from rich.console import Console

from scripts.compile import main as compile_contracts
from tests.contracts_fuzz.deltas import case, compare
from tests.contracts_fuzz.node import creation, node
from tests.contracts_fuzz.runner import DEPLOYER, START, Chain, Disagreement, Run

CALLS, CASES = 400, 2_000


def seeds(first: str | None) -> Iterator[str]:
    """Random seeds, or those that follow from a first one."""
    for number in count():
        yield secrets.token_hex(4) if first is None else f"{first}-{number}"


def campaign(seconds: float, console: Console, first: str | None = None) -> Counter:
    """Alternates runs of the Distributor and of the parser. Raises AssertionError at the first
    finding."""
    drawn = seeds(first)
    found: Counter = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with node() as fresh:  # a fresh chain now and then: Anvil keeps what it has mined
            chain = Chain(fresh)
            harness = fresh.deploy(creation("DeltasHarness"), DEPLOYER, START + 5)
            chain.keep()
            for _ in range(20):
                seed = next(drawn)
                run = Run(chain, seed)
                run.play(CALLS)
                rng = random.Random(seed)
                read = sum(
                    (
                        compare(fresh, harness, [case(rng) for _ in range(100)])
                        for _ in range(CASES // 100)
                    ),
                    Counter(),
                )
                found += Counter(
                    {
                        "runs": 1,
                        "calls": CALLS,
                        "done": sum(n for (_, o), n in run.outcomes.items() if o == "done"),
                    }
                )
                found += Counter({"deltas": CASES, "deltas taken": read["taken"]})
                console.print(
                    f"seed {seed}: {CALLS} calls, {CASES} deltas agree; "
                    f"{max(0, end - time.monotonic()):.0f} s to go"
                )
                if time.monotonic() >= end:
                    break
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description="Fuzz the Distributor and the parser of deltas against their models."
    )
    parser.add_argument("seconds", nargs="?", type=float, default=600)
    parser.add_argument("--seed", help="play this seed alone")
    parser.add_argument("--first", help="draw all seeds from this one")
    options = parser.parse_args(arguments)
    console = Console(highlight=False)
    compile_contracts()
    try:
        if options.seed:
            with node() as fresh:
                Run(Chain(fresh), options.seed).play(CALLS)
            console.print(f"seed {options.seed} agrees")
            return 0
        found = campaign(options.seconds, console, options.first)
    except (Disagreement, AssertionError) as error:
        print(error, file=sys.stderr)
        return 1
    console.print(f"no finding: {dict(found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

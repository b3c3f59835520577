"""`make fuzz`: random seeds for as long as it is given. Ends with exit code 1 at the first
disagreement, naming the seed and the last calls.

python -m tests.contracts_fuzz.campaign [SECONDS] [--seed SEED]

plays for 600 seconds unless told otherwise; --seed plays one seed of the Distributor again
"""

import argparse
import random
import secrets
import sys
import time
from collections import Counter

from rich.console import Console

from scripts.compile import main as compile_contracts
from tests.contracts_fuzz.deltas import case, compare
from tests.contracts_fuzz.node import creation, node
from tests.contracts_fuzz.runner import DEPLOYER, START, Chain, Disagreement, Run

CALLS, CASES = 400, 2_000


def campaign(seconds: float, console: Console) -> Counter:
    """Alternates runs of the Distributor and of the parser. Raises AssertionError at the first
    finding."""
    found: Counter = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with node() as fresh:  # a fresh chain now and then: Anvil keeps what it has mined
            chain = Chain(fresh)
            harness = fresh.deploy(creation("DeltasHarness"), DEPLOYER, START + 5)
            chain.keep()
            for _ in range(20):
                seed = secrets.token_hex(4)
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
    options = parser.parse_args(arguments)
    console = Console(highlight=False)
    compile_contracts()
    try:
        if options.seed:
            with node() as fresh:
                Run(Chain(fresh), options.seed).play(CALLS)
            console.print(f"seed {options.seed} agrees")
            return 0
        found = campaign(options.seconds, console)
    except (Disagreement, AssertionError) as error:
        print(error, file=sys.stderr)
        return 1
    console.print(f"no finding: {dict(found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

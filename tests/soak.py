"""`make soak`: the long tests, round after round, each round with a seed of its own.

    python -m tests.soak [--seed SEED] [--hours HOURS]

A round fuzzes the contracts, runs the tests that are marked `soak` (a ceremony at the size of the
dev instance, kills of workers at random steps), and every property test with examples of its seed.
Ends with exit code 1 at the first failure, naming the seed to run again.
"""

import argparse
import secrets
import subprocess
import sys
import time

FUZZ_SECONDS = 300
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:ape_test", "-q"]


def commands(seed: int) -> dict[str, list[str]]:
    """The parts of a round."""
    campaign = [sys.executable, "-m", "tests.contracts_fuzz.campaign", str(FUZZ_SECONDS)]
    suite, drawn = [*PYTEST, "tests", "--ignore=tests/contracts"], str(seed)
    return {
        "fuzz": [*campaign, "--first", drawn],
        "long tests": [*suite, "-m", "soak", "--soak-seed", drawn],
        "properties": [*suite, "-m", "pure or db", "--hypothesis-seed", drawn],
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Run the long tests, round after round.")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of round 1")
    parser.add_argument("--hours", type=float, default=0, help="go on until then; 0: one round")
    options = parser.parse_args(arguments)
    end = time.monotonic() + options.hours * 3600
    seed = options.seed
    while True:
        for name, command in commands(seed).items():
            print(f"seed {seed}: {name}", flush=True)
            if subprocess.run(command).returncode:
                print(f"{name} failed: make soak SEED={seed}", file=sys.stderr)
                return 1
        if time.monotonic() >= end:
            return 0
        seed += 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

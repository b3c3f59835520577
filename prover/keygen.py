"""`python -m prover.keygen INSTANCE...`: compile circuits and make their development keys.

Circuits and keys that the cache holds are not made again.
"""

import sys
import time

from prover.circuit import CircuitError, load_instance
from prover.groth16 import Groth16Error, dev_key, dev_key_path


def main(names: list[str]) -> int:
    for name in names:
        try:
            instance = load_instance(name)
            if dev_key_path(instance).exists():
                continue
            print(f"Compiling the {name} circuit and making its development key, once", flush=True)
            start = time.monotonic()
            key = dev_key(instance)
            print(f"{name}: key {key.manifest.key_digest[:16]} in {time.monotonic() - start:.0f} s")
        except (CircuitError, Groth16Error) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

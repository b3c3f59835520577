"""The Groth16 library in a process of its own, with JSON lines as its interface.

One JSON request per line on standard input gives one JSON answer per line on standard output. Run
it as `python -m prover.groth16_process`. The library (groth16py: arkworks in Rust, GPL-3) is
imported here and nowhere else; the rest of the project talks to this program. The program ends when
its standard input ends, so it never outlives the process that started it.

Requests: {"do": "setup", "r1cs", "pk", "vk"}, {"do": "import", "zkey", "pk", "vk"}, {"do": "load",
"pk"}, {"do": "prove", "wtns"}, {"do": "verify", "vk", "proof", "public"}, {"do": "usage"}. Answers:
{"ok": ...} or {"error": "..."}.
"""

import json
import resource
import sys
from typing import Any

import groth16py

_LOADED: dict[str, groth16py.ProvingKey] = {}


def _setup(request: dict[str, Any]) -> bool:
    proving_key, verifying_key = groth16py.setup(request["r1cs"])
    return _save(request, proving_key, verifying_key)


def _import(request: dict[str, Any]) -> bool:
    proving_key, verifying_key = groth16py.import_zkey(request["zkey"])
    return _save(request, proving_key, verifying_key)


def _save(
    request: dict[str, Any],
    proving_key: groth16py.ProvingKey,
    verifying_key: groth16py.VerifyingKey,
) -> bool:
    proving_key.save(request["pk"])
    with open(request["vk"], "w") as file:
        file.write(verifying_key.to_json())
    return True


def _load(request: dict[str, Any]) -> bool:
    _LOADED["pk"] = groth16py.ProvingKey.load(request["pk"])
    return True


def _prove(request: dict[str, Any]) -> str:
    return groth16py.prove_wtns(_LOADED["pk"], request["wtns"]).hex()


def _verify(request: dict[str, Any]) -> bool:
    verifier = groth16py.Verifier(groth16py.VerifyingKey.from_snarkjs(json.dumps(request["vk"])))
    proof, public = bytes.fromhex(request["proof"]), [int(signal) for signal in request["public"]]
    try:
        return verifier.verify(proof, public)
    except groth16py.EncodingError:
        # A coordinate or signal out of range or a point off its curve is not a proof, as for
        # the precompiles.
        return False


def _usage(_: dict[str, Any]) -> dict[str, Any]:
    """Return the CPU time of all threads and the peak memory."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    unit = 1 if sys.platform == "darwin" else 1024
    return {"cpu_seconds": used.ru_utime + used.ru_stime, "memory_bytes": used.ru_maxrss * unit}


_ACTIONS = {
    "setup": _setup,
    "import": _import,
    "load": _load,
    "prove": _prove,
    "verify": _verify,
    "usage": _usage,
}


def main() -> None:
    for line in sys.stdin:
        try:
            request = json.loads(line)
            answer = {"ok": _ACTIONS[request["do"]](request)}
        except (
            Exception
        ) as error:  # Every error of the library goes to the caller, and the process continues.
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

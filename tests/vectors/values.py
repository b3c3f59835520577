"""How the vectors write values, and random ones of a seed."""

import random

from eth_utils import to_checksum_address

from prover.statement import Pair


def element(value: int) -> str:
    return f"0x{value:064x}"


def data(value: bytes) -> str:
    return "0x" + value.hex()


def address(value: int) -> str:
    return to_checksum_address(value.to_bytes(20, "big"))


def random_address(rng: random.Random) -> int:
    return rng.randrange(1, 2**160)


def random_pairs(rng: random.Random, count: int) -> list[Pair]:
    """`count` accounts with cumulatives of very different sizes, up to near the contract's limit of
    2^127."""
    return [
        (random_address(rng), rng.randrange(1, 2 ** rng.choice((8, 64, 96, 127))))
        for _ in range(count)
    ]


def shown(pairs: list[Pair]) -> list[list[str]]:
    return [[address(a), str(v)] for a, v in pairs]

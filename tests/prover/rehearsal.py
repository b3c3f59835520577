"""A ceremony of three people and a beacon, and ways of spoiling its files."""

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

from prover import ceremony
from prover.circuit import load_instance

DEV = load_instance("dev")
PEOPLE = ("Ann", "Bob", "Cyd")
BEACON = hashlib.sha256(b"a block that nobody could foresee").hexdigest()


def held(folder: Path, instance, ptau: Path) -> list[Path]:
    """The files of a whole ceremony: the initial one, one a person, the beacon's."""
    files = [folder / "0000.zkey"]
    ceremony.init(instance, ptau, files[0])
    for number, name in enumerate(PEOPLE, start=1):
        files.append(folder / f"{number:04}.zkey")
        ceremony.contribute(files[-2], files[-1], name)
    files.append(folder / "final.zkey")
    ceremony.beacon(files[-2], files[-1], BEACON, 10)
    return files


def section(data: bytes, wanted: int) -> tuple[int, int]:
    """(start, size) of a section's content."""
    at = 12
    while True:
        kind, size = struct.unpack_from("<IQ", data, at)
        if kind == wanted:
            return at + 12, size
        at += 12 + size


def spoiled(source: Path, out: Path, edit: Callable[[bytearray], None]) -> Path:
    data = bytearray(source.read_bytes())
    edit(data)
    out.write_bytes(data)
    return out


def swap_points(kind: int, point_bytes: int) -> Callable[[bytearray], None]:
    """Exchange the last two different points of a section: both remain points of their group."""

    def edit(data: bytearray) -> None:
        start, size = section(data, kind)
        first = data[start : start + point_bytes]
        for at in range(start + size - point_bytes, start, -point_bytes):
            if (
                data[at : at + point_bytes] != first
                and any(data[at : at + point_bytes])
                and any(first)
            ):
                data[start : start + point_bytes], data[at : at + point_bytes] = (
                    data[at : at + point_bytes],
                    first,
                )
                return
        raise AssertionError("no two points differ")

    return edit


def flip(kind: int, offset: int) -> Callable[[bytearray], None]:
    def edit(data: bytearray) -> None:
        data[section(data, kind)[0] + offset] ^= 1

    return edit

"""The vectors of evidence: deliveries, their encodings and their hashes (PROTOCOL section 6).

The encoding is written down a second time here, so that no code is shared with the backend.
"""

import struct
from typing import Any

from eth_utils import keccak

from tests.vectors.values import data

DELIVERIES: dict[str, tuple[str, str, str, list[tuple[str, str]], bytes]] = {
    "standard webhooks": (
        "standard-webhooks",
        "POST",
        "/v1/programs/p/interactions",
        [
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", "1760000000"),
            ("webhook-signature", "v1,AA=="),
        ],
        b'{"interactions":[]}',
    ),
    "a query, no header, no body": ("other", "GET", "/in?event=1&sum=ab", [], b""),
    "texts outside ASCII and any byte": (
        "s",
        "POST",
        "/",
        [("h", "é€😀"), ("h", "")],
        bytes(range(256)),
    ),
    "all empty": ("", "", "", [], b""),
}


def evidence_vectors() -> dict[str, Any]:
    """Each delivery with its encoding, a salt, and the hash over both."""
    salt = bytes(range(32))
    return {
        "cases": [
            {
                "name": name,
                "scheme": scheme,
                "method": method,
                "target": target,
                "headers": [list(header) for header in headers],
                "body": data(body),
                "encoding": data(raw := _encode(scheme, method, target, headers, body)),
                "salt": data(salt),
                "evidence": data(keccak(salt + raw)),
            }
            for name, (scheme, method, target, headers, body) in DELIVERIES.items()
        ]
    }


def _encode(
    scheme: str, method: str, target: str, headers: list[tuple[str, str]], body: bytes
) -> bytes:
    raw = b"\x01"
    for text in (scheme, method, target):
        raw += struct.pack(">I", len(text.encode("utf-8"))) + text.encode("utf-8")
    raw += struct.pack(">I", len(headers))
    for name, value in headers:
        for text in (name, value):
            raw += struct.pack(">I", len(text.encode("utf-8"))) + text.encode("utf-8")
    return raw + struct.pack(">I", len(body)) + body

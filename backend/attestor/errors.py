"""What an attestor answers when it does not sign.

GuerdonError
├── Conflict (409)
│   ├── AlreadyLanded (already_landed)   the chain has this sequence
│   ├── MissingLeaves (missing_leaves)   send them, then ask again
│   └── NotYet: StateBehind (state_behind), OtherDigestSigned (other_digest_signed),
│               PredecessorAtWork (predecessor_at_work)  ask later
├── Invalid: Refused (422 refused)       never, not with this content
└── Unavailable: Halted (503 halted)     the chain broke its word: a person must look
"""

from collections.abc import Sequence

from backend.errors import Conflict, Invalid, NotYet, Unavailable


class Refused(Invalid):
    """A rule is broken. `reason` is a stable word, `item` the index of the item or delivery at
    fault (`field` says which)."""

    code = "refused"

    def __init__(
        self, reason: str, message: str, *, item: int | None = None, field: str | None = None
    ) -> None:
        super().__init__(message, field=field if field is not None or item is None else "items")
        self.reason = reason
        self.item = item

    def details(self) -> dict[str, object]:
        return {"reason": self.reason, "item": self.item}


class StateBehind(NotYet):
    """The final chain that this attestor sees is not there yet."""

    code = "state_behind"


class OtherDigestSigned(NotYet):
    """Another digest for this bucket and sequence can still land."""

    code = "other_digest_signed"


class PredecessorAtWork(NotYet):
    """Batches can still land in the program that this one goes on for."""

    code = "predecessor_at_work"


class AlreadyLanded(Conflict):
    """A batch with this sequence is final."""

    code = "already_landed"


LEAVES_ASKED_MAX = 256
"""Batches whose leaves are asked for at a time: the coordinator limits the size of an answer."""


class MissingLeaves(Conflict):
    """Landed batches of `distributor` whose leaves this attestor does not hold; `batches` is
    (bucket, sequence) each, the first ones if they are many."""

    code = "missing_leaves"

    def __init__(self, distributor: str, batches: Sequence[tuple[int, int]]) -> None:
        super().__init__(
            f"the leaves of {len(batches)} landed batches of {distributor} are not held: send them "
            "to /v1/leaves, then ask again"
        )
        self.distributor = distributor
        self.batches = list(batches[:LEAVES_ASKED_MAX])

    def details(self) -> dict[str, object]:
        return {
            "distributor": self.distributor,
            "batches": [
                {"bucket": bucket, "sequence": sequence} for bucket, sequence in self.batches
            ],
        }


class Halted(Unavailable):
    """What was taken as final has changed, or the log does not give the roots: nothing is signed
    until a person has looked."""

    code = "halted"
    retryable = False

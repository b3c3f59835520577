"""What probes learn of the process."""

from typing import Literal

from backend.kit.schema import Out


class AliveOut(Out):
    """The process answers."""

    status: Literal["ok"]


class ReadyOut(Out):
    """Whether every server that the process needs answers. `failed` names those that do not.

    `degraded`: all answer, and programs are halted; `halted` names them.
    """

    status: Literal["ok", "degraded", "unavailable"]
    failed: list[Literal["database", "redis"]]
    halted: list[str]

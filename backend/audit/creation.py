"""How the program came to be: by our constructor and nothing else.

Runtime code says what a contract does from here on; it does not say what its storage held when it
began. A constructor of somebody else's can leave our very code behind over storage that holds a
bucket of its own, claims already paid, or a change of attestors long announced. Once the creation
is proven to be ours, every word of storage follows from our code and the calls made to it, so
nothing that the constructor could have slipped in, announcements included, is checked apart.
"""

from backend.audit.report import AuditReport
from backend.chain.code import match_creation
from backend.chain.distributor import ProgramInfo
from backend.chain.events import AttestorsChanged
from backend.chain.node import Node


def check_creation(
    node: Node,
    info: ProgramInfo,
    distributor: str,
    first: AttestorsChanged | None,
    report: AuditReport,
) -> None:
    """Require that our constructor made the Distributor, with this program's configuration. `first`
    is the log's first AttestorsChanged.

    Our constructor emits that one, so its transaction must be the one that created the contract.
    This finds it on a node without old state, and however early the first block was given.
    """
    report.checks["creation"] += 1
    if first is None or first.epoch != 1:
        message = (
            f"from block {report.first_block} on, the log does not begin with the attestors of "
            "epoch 1, which our constructor emits"
        )
        report.find("creation_foreign", message)
        return
    where = {"tx_hash": first.tx_hash}
    sent, receipt = node.transaction(first.tx_hash), node.receipt(first.tx_hash)
    if sent is not None and receipt is not None and receipt.created == distributor:
        made = [sent.data]
    else:
        # A factory made it: only a trace shows with which code.
        frames = node.trace(first.tx_hash, distributor)
        if frames is None:
            message = (
                "the Distributor was created by another contract, and this node does not show "
                "with which code: "
                "ask a node that traces (debug_traceTransaction)"
            )
            report.find("creation_unchecked", message, **where)
            return
        made = [frame.data for frame in frames if frame.kind in ("CREATE", "CREATE2")]
    if not made:
        report.find(
            "creation_foreign",
            "the first attestors were not set by the transaction that created the Distributor",
            **where,
        )
    for init_code in made:
        for difference in match_creation(init_code, info, first.attestors, first.threshold):
            report.find("creation_foreign", difference, **where)

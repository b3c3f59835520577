"""The program's contracts: are they the ones of this project, and does the verifier hold a key that
may be there."""

from collections.abc import Mapping

from backend.audit.keys import ExpectedKey
from backend.audit.proofs import key_problems
from backend.audit.report import AuditReport
from backend.chain.code import match_distributor, match_hasher, match_verifier
from backend.chain.distributor import ProgramInfo
from backend.chain.node import Node
from prover.circuit import PUBLIC_SIGNALS
from prover.keys import VerifyingKey


def check_contracts(
    node: Node,
    info: ProgramInfo,
    distributor: str,
    block: int,
    expected_keys: Mapping[str, ExpectedKey],
    report: AuditReport,
) -> VerifyingKey | None:
    """Compare the code of Distributor, hasher and verifier with what this project compiles, and the
    key with `expected_keys` (by digest). Returns the deployed key; None if none can be read from
    the verifier or none can be verified with."""

    words, foreign = match_verifier(node.code(info.verifier, block), info.version)
    report.checks["contract code"] += 3
    for finding, differences in (
        (
            "distributor_code_foreign",
            match_distributor(node.code(distributor, block), info, distributor),
        ),
        ("hasher_code_foreign", match_hasher(node.code(info.hasher, block), info.version)),
        ("verifier_code_foreign", foreign),
    ):
        for difference in differences:
            report.find(finding, difference)
    if not words:
        return None
    problems = key_problems(words, len(PUBLIC_SIGNALS))
    for problem in problems:
        report.find("key_unfit", f"the verifier's key: {problem}")
    if problems:
        return None
    key = VerifyingKey.from_words(words)
    _compare(key, expected_keys, info, report)
    return key


def _compare(
    key: VerifyingKey, expected: Mapping[str, ExpectedKey], info: ProgramInfo, report: AuditReport
) -> None:
    report.key_digest = key.digest
    report.checks["verifying key"] += 1
    if not expected:
        message = (
            f"the verifier's key is {key.digest}, and there is nothing to compare it with: give "
            "the key that it should be"
        )
        report.find("verifier_key_unknown", message)
    elif key.digest not in expected:
        known = ", ".join(f"{digest} ({known.origin})" for digest, known in expected.items())
        report.find("verifier_key_differs", f"the verifier's key is {key.digest}, expected {known}")
    else:
        for problem, message in expected[key.digest].problems(info.chain_id, info.levels):
            report.find(problem, message)

"""A commit-msg hook: `area: imperative`, at most 72 characters, then a blank line."""

import re
import sys
from pathlib import Path

SUBJECT_MAX = 72
SUBJECT = re.compile(r"[a-z0-9][a-z0-9_./-]*(, [a-z0-9][a-z0-9_./-]*)*: \S.*[^\s.]")
FREE = ("Merge ", "Revert ", "fixup! ", "squash! ")
"""Git writes these subjects itself."""
NOT_IMPERATIVE = re.compile(r": (\w+ed|\w+ing|adds|fixes|removes|makes|changes|updates)\b", re.I)
ROOTS = {"embed", "feed", "need", "seed", "shed", "speed", "bring", "string", "ping"}
"""Imperatives that only look like another form."""


def faults(message: str) -> list[str]:
    """What is wrong with a commit message, empty if nothing is. Comment lines do not count."""
    lines = [line for line in message.splitlines() if not line.startswith("#")]
    subject = lines[0] if lines else ""
    if subject.startswith(FREE):
        return []
    found = []
    if not SUBJECT.fullmatch(subject):
        found.append(f"subject: expected `area: imperative` without a full stop, got {subject!r}")
    if len(subject) > SUBJECT_MAX:
        found.append(f"subject: expected at most {SUBJECT_MAX} characters, got {len(subject)}")
    verb = NOT_IMPERATIVE.search(subject)
    if verb and verb[1].lower() not in ROOTS:
        found.append(f"subject: expected an imperative, got {verb[1]!r}")
    if len(lines) > 1 and lines[1].strip():
        found.append("body: expected a blank line below the subject")
    return found


def main() -> int:
    """Check the file that git names; the exit code is 1 if something is wrong."""
    found = faults(Path(sys.argv[1]).read_text())
    for fault in found:
        print(f"commit message: {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""The state machine of a batch: what may follow what, and that nothing else moves a batch."""

import ast
import re
from itertools import pairwise, product
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from backend.batch import states
from backend.batch.models import INACTIVE, Batch, BatchState, Envelope, NotStored
from backend.batch.states import ORDER, TRANSITIONS, IllegalTransition, reached, transition
from backend.kit.metrics import BATCH_TRANSITIONS

BACKEND = Path(states.__file__).parents[1]
MOVER = BACKEND / "batch" / "states.py"
STATE_IN_SQL = re.compile(r"UPDATE\s+batch\b[^;]*?\bSET\b(?:(?!WHERE).)*\bstate\b", re.I | re.S)


def batch_in(state: BatchState) -> Batch:
    return Batch(id=7, program_id=1, bucket=2, sequence=3, state=state)


@pytest.mark.parametrize(("before", "to"), product(BatchState, BatchState))
def test_only_the_table_moves_a_batch(before: BatchState, to: BatchState) -> None:
    """A transition in the table moves the batch; every other one is refused and changes nothing."""
    batch = batch_in(before)
    if to in TRANSITIONS[before]:
        transition(batch, to)
        assert batch.state == to
    else:
        with pytest.raises(IllegalTransition, match=f"is {before} cannot become {to}"):
            transition(batch, to)
        assert batch.state == before


def test_the_table_is_whole() -> None:
    """Each state has a row; the way forward is in the table; nothing leaves an end; what could
    still land is never quarantined or superseded."""
    assert set(TRANSITIONS) == set(BatchState)
    assert all(later in TRANSITIONS[earlier] for earlier, later in pairwise(ORDER))
    assert {state for state in BatchState if not TRANSITIONS[state]} == {
        BatchState.FINAL,
        *INACTIVE,
    }
    leaving = {state for state in BatchState if TRANSITIONS[state] & set(INACTIVE)}
    assert leaving == {BatchState.CLOSED, BatchState.ATTESTED}


def test_the_documents_say_the_same() -> None:
    """docs/ARCHITECTURE.md lists the transitions of this table, in any order."""
    text = (BACKEND.parent / "docs" / "ARCHITECTURE.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|[^|\n]*\|([^|\n]*)\|$", text, re.MULTILINE)
    said = {state: set(re.findall(r"\w+", after)) - {"none"} for state, after in rows}
    assert {state: said.get(state) for state in BatchState} == TRANSITIONS


def test_one_line_a_transition() -> None:
    """A transition logs one info line that says which batch moved, from where and to where."""
    with capture_logs() as lines:
        transition(batch_in(BatchState.PROVEN), BatchState.POSTED)
    assert lines == [
        {
            "event": "batch_moved",
            "log_level": "info",
            "program": 1,
            "batch": 7,
            "bucket": 2,
            "sequence": 3,
            "state": "posted",
            "before": "proven",
        }
    ]


def test_each_transition_is_counted() -> None:
    """A transition adds one to the count of its new state."""
    counter = BATCH_TRANSITIONS.labels("posted")
    before = counter._value.get()
    transition(batch_in(BatchState.PROVEN), BatchState.POSTED)
    assert counter._value.get() == before + 1


def test_reached() -> None:
    """A batch needs no step to a state that it has passed, and none at all once it never lands."""
    assert reached(BatchState.PROVEN, BatchState.ATTESTED)
    assert reached(BatchState.PROVEN, BatchState.PROVEN)
    assert not reached(BatchState.ATTESTED, BatchState.PROVEN)
    assert all(reached(state, BatchState.FINAL) for state in INACTIVE)


def assignments(source: str) -> list[str]:
    """The places of a module that could move a batch: an assignment to `.state`, a SQLAlchemy
    update to a BatchState, an SQL text that sets the state of batches."""
    found = []
    tree = ast.parse(source)
    knows_batches = "backend.batch" in source
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr="state", ctx=ast.Store()) if knows_batches:
                found.append(f"line {node.lineno}: assigns .state")
            case ast.Call(func=ast.Name(id="setattr"), args=[_, ast.Constant(value="state"), *_]):
                found.append(f"line {node.lineno}: setattr of state")
            case ast.keyword(arg="state", value=ast.Attribute(value=ast.Name(id="BatchState"))):
                found.append(f"line {node.value.lineno}: state=BatchState")
            case ast.Constant(value=str() as text) if STATE_IN_SQL.search(text):
                found.append(f"line {node.lineno}: SQL sets the state")
    return found


def test_nothing_else_moves_a_batch() -> None:
    """Only `states.transition` assigns a batch's state; closing alone makes a batch with one."""
    found = {
        path.relative_to(BACKEND).as_posix(): places
        for path in BACKEND.rglob("*.py")
        if path != MOVER and "migrations" not in path.parts
        if (places := assignments(path.read_text()))
    }
    assert list(found) == ["batch/close.py"]
    assert len(found["batch/close.py"]) == 1
    assert assignments(MOVER.read_text()) == [
        next(place for place in assignments(MOVER.read_text()) if "assigns .state" in place)
    ]


@pytest.mark.parametrize(
    "line",
    [
        "batch.state = BatchState.FINAL",
        "batch.state, batch.note = BatchState.FINAL, None",
        "setattr(batch, 'state', 'final')",
        "update(Batch).values(state=BatchState.FINAL)",
        "text('UPDATE batch SET note = null, state = :state WHERE id = 1')",
    ],
)
def test_the_scan_sees_a_fault(line: str) -> None:
    """The scan finds each way to move a batch past the state machine."""
    assert assignments(f"from backend.batch.models import Batch, BatchState\n{line}\n")


def test_the_scan_sees_no_fault_in_a_condition() -> None:
    """A state that is only read, or named in a WHERE, is no assignment."""
    source = "from backend.batch.models import Batch\nbatch.state == 1\n"
    assert assignments(source + "text('UPDATE batch SET note = 1 WHERE state = 2')") == []


def test_a_value_that_is_not_stored() -> None:
    """A step that relies on an envelope, a proof or a transaction gets it, or an error that names
    the batch."""
    batch = batch_in(BatchState.CLOSED)
    for wanted in (batch.envelope, batch.stored_proof, batch.posting_transaction):
        with pytest.raises(NotStored, match="batch 7"):
            wanted()
    batch.attestor_epoch, batch.valid_until, batch.digest = 1, 2, b"\3"
    batch.proof, batch.transaction_id = b"\4", 5
    assert batch.envelope() == Envelope(1, 2, b"\3")
    assert (batch.stored_proof(), batch.posting_transaction()) == (b"\4", 5)

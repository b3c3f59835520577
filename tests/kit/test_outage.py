"""What the log says of a server that does not answer."""

import logging

import pytest
from structlog.testing import capture_logs

from backend.kit import outage
from backend.kit.outage import OneLine, Outage


def test_ever_fewer_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour's outage with ten failures a second is some seventy lines, the first one at once;
    then one line says how long it was. Without an outage nothing is said."""
    clock = [0.0]
    monkeypatch.setattr(outage.time, "monotonic", lambda: clock[0])
    away = Outage("database")
    with capture_logs() as lines:
        away.over()
        for tenth in range(36_000):
            clock[0] = tenth / 10
            away.failed(ConnectionError("postgresql://user:secret@host"))
            if not tenth:
                assert [line["event"] for line in lines] == ["database_unavailable"]
        away.over()
        away.over()
    assert 50 < len(lines) < 80
    assert "secret" not in str(lines)
    assert lines[-1] == {
        "event": "database_available",
        "log_level": "warning",
        "failures": 36_000,
        "seconds": 3600,
    }


def test_one_line_of_another_logger(caplog: pytest.LogCaptureFixture) -> None:
    """A connection error that another program logs with its traceback becomes one line; a fault
    keeps its traceback."""
    logger = logging.getLogger("tests.outage")
    logger.addFilter(OneLine(ConnectionError))
    for error in (ConnectionRefusedError("no"), ValueError("ours")):
        try:
            raise error
        except type(error):
            logger.warning("%s lost\n", "broker", exc_info=True)
    first, second = caplog.text.split("WARNING")[1:]
    assert first.splitlines()[0].endswith("broker lost (ConnectionRefusedError)")
    assert "Traceback" not in first
    assert "Traceback" in second

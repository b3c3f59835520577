"""backend/config.py"""

import pytest
from pydantic import ValidationError

from backend.config import Settings


def test_a_bad_setting_shows_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the setting and what was expected; a password that stands beside it stays out
    of the terminal and the log."""
    monkeypatch.setenv("GUERDON_KEYSTORE_PASSWORD", "correct horse")
    monkeypatch.setenv("GUERDON_OPERATOR_API_KEY", "battery staple")
    for name, value in (("GUERDON_ZKEY", "/somewhere"), ("GUERDON_TICK_SECONDS", "soon")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(ValidationError) as caught:
                Settings()
        assert name.removeprefix("GUERDON_").lower() in str(caught.value).lower()
        assert "horse" not in str(caught.value)
        assert "staple" not in str(caught.value)

"""Standard Webhooks as the API and the attestors check it."""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.partner.schemes.standard_webhooks import (
    SIGNATURE,
    TIMESTAMP,
    SignatureError,
    generate_secret,
    make_delivery,
    require_fresh,
    require_secret,
    require_signature,
    sign,
)
from tests.support.engine import signature

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
PUBLISHED = make_delivery(
    "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "1614265330",
    "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    b'{"test": 2432232314}',
)
"""The example of the Standard Webhooks libraries' own tests."""


def test_published_vector() -> None:
    """The vector that the specification's libraries share is accepted with its secret, and not with
    another."""
    require_signature(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], PUBLISHED)
    with pytest.raises(SignatureError):
        require_signature([generate_secret()], PUBLISHED)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    st.text(max_size=200),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40),
)
def test_sign_then_check(body: str, message_id: str) -> None:
    """What a partner signs is accepted, by this and by a second implementation; any other byte of
    the body is not."""
    secret, raw = generate_secret(), body.encode(errors="replace")
    delivery = sign(secret, message_id, NOW, raw)
    stamp = delivery.header(TIMESTAMP)
    assert delivery.header(SIGNATURE) == signature(secret, message_id, stamp, raw)
    require_signature([generate_secret(), secret], delivery)
    with pytest.raises(SignatureError):
        require_signature([secret], replace(delivery, body=raw + b" "))


def test_no_secrets() -> None:
    """A partner all of whose secrets are revoked signs nothing."""
    with pytest.raises(SignatureError):
        require_signature([], PUBLISHED)


@pytest.mark.parametrize(
    ("seconds", "fresh"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)]
)
def test_freshness(seconds: int, fresh: bool) -> None:
    """Five minutes either way, to the second."""
    delivery = sign(generate_secret(), "m", NOW, b"{}")
    if fresh:
        require_fresh(delivery, NOW + timedelta(seconds=seconds))
    else:
        with pytest.raises(SignatureError) as caught:
            require_fresh(delivery, NOW + timedelta(seconds=seconds))
        assert caught.value.field == "webhook-timestamp"


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "secret",
        "whsec_%%%",
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
        base64.b64encode(b"x" * 32).decode(),
        "whsec_é",
        "whsec_" + base64.b64encode(b"x" * 32).decode() + "\n",
    ],
)
def test_bad_secret(secret: str) -> None:
    """A secret that is too short, too long or not base64 is refused, by a message that does not
    repeat it."""
    with pytest.raises(ValueError, match="secret: expected") as caught:
        require_secret(secret)
    assert len(secret) < 8 or secret not in str(caught.value)


def test_fresh_secrets() -> None:
    """Generated secrets are well formed and differ."""
    made = {require_secret(generate_secret()) for _ in range(50)}
    assert len(made) == 50

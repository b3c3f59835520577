"""The partner's side: bulk reports against the real API, and what it tells when they are not
taken."""

from typing import Any

import httpx
import pytest

from backend.client import partner_client
from backend.client.partner_client import DeliveryRefused, PartnerClient, Reported, chunks
from tests.support.engine import Api, address, now


def reported(event: object, who: str = "alice", amount: int = 1) -> Reported:
    return Reported(str(event), address(who), amount, now())


def client(api: Api, program: str, secret: str) -> PartnerClient:
    return PartnerClient(str(api.http.base_url).rstrip("/"), program, "adnet", secret)


def test_reports_in_bulk(served: Api) -> None:
    """2,500 interactions go in three requests; sent again they are all duplicates; a forged
    signature changes nothing."""
    program = served.engine.program()
    secret = served.engine.secrets[program.id, "adnet"]
    partner = client(served, program.name, secret)
    made = [reported(i, f"w{i % 9}") for i in range(2500)]
    assert partner.report(made) == {"accepted": 2500}
    assert partner.report(made) == {"duplicate": 2500}
    assert partner.send(made[:3], secret="whsec_" + "A" * 44).status_code == 401
    assert partner.report([]) == {}
    assert served.engine.budget(program) == 2**120 - 2500
    partner.close()


def test_refused_request_is_an_error(served: Api) -> None:
    """A request that is refused as a whole raises with the API's answer; rejected items are
    counted."""
    program = served.engine.program()
    secret = served.engine.secrets[program.id, "adnet"]
    with pytest.raises(DeliveryRefused, match="401"):
        client(served, program.name, "whsec_" + "A" * 44).report([reported("e")])
    with pytest.raises(DeliveryRefused, match="404"):
        client(served, "nowhere", secret).report([reported("e")])
    assert client(served, program.name, secret).report(
        [reported("e"), reported("f", amount=0)]
    ) == {"accepted": 1, "rejected": 1}
    with pytest.raises(httpx.TransportError):
        PartnerClient("http://127.0.0.1:1", program.name, "adnet", secret).report([reported("e")])


@pytest.mark.parametrize(("times", "calls"), [(2, 3), (99, 5)])
def test_a_busy_api_is_asked_again(
    served: Api, monkeypatch: pytest.MonkeyPatch, times: int, calls: int
) -> None:
    """503 with Retry-After is no end: the same items go again, signed again, after as long as the
    API asks for, and some times at most."""
    program = served.engine.program()
    partner = client(served, program.name, served.engine.secrets[program.id, "adnet"])
    post, waits, sent = partner._http.post, [], []

    def busy(*arguments: Any, **options: Any) -> httpx.Response:
        sent.append(options["headers"]["webhook-id"])
        if len(sent) <= times:
            return httpx.Response(
                503, headers={"retry-after": "7"}, request=httpx.Request("POST", "x")
            )
        return post(*arguments, **options)

    monkeypatch.setattr(partner._http, "post", busy)
    monkeypatch.setattr(partner_client.time, "sleep", waits.append)
    if times == 2:
        assert partner.report([reported("e")]) == {"accepted": 1}
    else:
        with pytest.raises(DeliveryRefused, match="503"):
            partner.report([reported("e")])
    assert (len(set(sent)), waits) == (calls, [7] * (calls - 1))


def test_chunks() -> None:
    """Parts follow each other, none larger than allowed, nothing lost."""
    items = list(range(7))
    assert [list(part) for part in chunks(items, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(chunks([], 3)) == []

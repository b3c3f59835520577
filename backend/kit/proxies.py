"""Which calls a proxy of the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) is meant for.

A proxy leads out of the own machine or network. It cannot reach a service on this machine, nor one
that only a container network knows.
"""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

import httpx

from backend.errors import Unavailable

SOCKS_ADVICE = (
    "a SOCKS proxy of the environment (ALL_PROXY, HTTP_PROXY or HTTPS_PROXY) needs one more "
    "package: `pip install httpx[socks] requests[socks]`; or unset the variable"
)


def is_near(url: str) -> bool:
    """Whether no proxy stands before the host of `url`.

    Near are loopback addresses, `localhost`, and names without a dot: no public name server knows
    them.
    """
    host = _host(url).rstrip(".")
    if not host or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host
    return address.is_loopback or address.is_unspecified


def sync_client(url: str, *, timeout_seconds: float) -> httpx.Client:
    """A client for the server at `url`. Raises Unavailable for a proxy that cannot be used."""
    try:
        return httpx.Client(timeout=timeout_seconds, trust_env=not is_near(url))
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise _unusable(error) from None


def async_client(
    urls: Iterable[str], *, headers: dict[str, str], timeout: httpx.Timeout
) -> httpx.AsyncClient:
    """A client for the servers at `urls`. Raises Unavailable for a proxy that cannot be used."""
    servers = list(urls)
    near = [_host(url) for url in servers if is_near(url)]
    # A host with None goes the direct way, whatever the environment says of others.
    direct: dict[str, httpx.AsyncBaseTransport | None] = {
        f"all://[{host}]" if ":" in host else f"all://{host}": None for host in near if host
    }
    far = any(not is_near(url) for url in servers)
    try:
        return httpx.AsyncClient(headers=headers, timeout=timeout, trust_env=far, mounts=direct)
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise _unusable(error) from None


def _host(url: str) -> str:
    """The host's name; empty for a URL without one, or that is none: the call will say so."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _unusable(error: Exception) -> Unavailable:
    # The proxy's URL may hold a password: the error's text is not shown.
    if isinstance(error, ImportError):
        return Unavailable(SOCKS_ADVICE, field="ALL_PROXY")
    return Unavailable(
        "a proxy of the environment (ALL_PROXY, HTTP_PROXY or HTTPS_PROXY) is no URL of the form "
        "http://host:port: correct it, or unset the variable",
        field="HTTP_PROXY",
    )

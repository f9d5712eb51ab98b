"""POST to a URL that a user wrote, without lending them this machine's place in the network.

The host is resolved once, every address it has must be public (or in a network the operator allowed), and the call
goes to one of just these: a name that answers differently a moment later gains nothing. TLS checks the name, not the
address. No redirects, no proxies, no kept connections; sizes and the whole time are bounded, also against a server
that sends one byte a minute.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import httpx

Network = IPv4Network | IPv6Network
MAX_BYTES = 1_000_000
_SET_HERE = ("host", "content-length", "transfer-encoding", "connection", "accept-encoding")


class EgressError(Exception):
    """Root of what this package raises. No message holds a header or a body."""


class EgressRefused(EgressError):
    """Fettle will not make this call or take this answer; trying again changes nothing."""


class EgressFailed(EgressError):
    """No answer; trying again may help."""


class EgressTimeout(EgressFailed):
    """No whole answer in time."""


@dataclass(frozen=True)
class Answer:
    """What came back, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Addresses and networks such as `10.1.0.0/16` or `::1`. Raises ValueError, which names the wrong one."""
    return tuple(ip_network(text.strip()) for text in texts)


class Egress:
    """Safe to use from many threads and event loops.

    Args:
        allowed: networks that may be called although they are not public.
        timeout_s: of one call, from looking up the name to the last byte.
        verify: certificates to trust beside the usual ones' place; None for those that certifi lists.
    """

    def __init__(
        self, *, allowed: Sequence[Network] = (), timeout_s: float = 60.0, verify: ssl.SSLContext | None = None
    ) -> None:
        self._allowed = tuple(allowed)
        self._timeout_s = timeout_s
        self._verify = verify

    def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Answer:
        """`post_async` for a thread without an event loop."""
        return asyncio.run(self.post_async(url, headers=headers, body=body))

    async def post_async(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send `body` once and read the answer.

        Raises:
            EgressRefused: no http(s) URL, an address that is not public, a body over 1 MB, a redirect, an answer over
                1 MB or compressed.
            EgressFailed: the name does not resolve, no connection, the connection broke, or `EgressTimeout`.
        """
        if len(body) > MAX_BYTES:
            raise EgressRefused(f"the request has {len(body)} bytes; at most {MAX_BYTES} are sent")
        target = _parsed(url)
        try:
            async with asyncio.timeout(self._timeout_s):
                address = await self._resolve(target.host, target.port or (443 if target.scheme == "https" else 80))
                return await self._send(target, address, headers, body)
        except TimeoutError as error:
            raise EgressTimeout(f"{_shown(target)} gave no whole answer within {self._timeout_s:g} s") from error
        except (httpx.HTTPError, ssl.SSLError, OSError) as error:
            raise EgressFailed(f"{_shown(target)} cannot be reached: {type(error).__name__}: {error}") from error

    async def _resolve(self, host: str, port: int) -> str:
        """An address of the host that may be called; all of its addresses have to be such."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as error:  # a name with a NUL, or too long a label, is a ValueError
            raise EgressFailed(f"the host name {host!r} does not resolve: {error}") from error
        addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
        for address in addresses:
            if not is_public(address) and not self._is_allowed(address):
                raise EgressRefused(
                    f"{host!r} has the address {address}, which is not public; an operator can allow it "
                    "(FETTLE_EGRESS_ALLOW)"
                )
        return addresses[0]

    def _is_allowed(self, address: str) -> bool:
        parsed = _embedded(ip_address(address))
        return any(parsed in network for network in self._allowed if network.version == parsed.version)

    async def _send(self, target: httpx.URL, address: str, headers: Mapping[str, str], body: bytes) -> Answer:
        kept = {name: value for name, value in headers.items() if name.lower() not in _SET_HERE}
        # A connection kept open would be found again by its address, by a call to another name at that address.
        limits = httpx.Limits(max_keepalive_connections=0)
        client = httpx.AsyncClient(
            verify=self._tls, trust_env=False, follow_redirects=False, limits=limits, timeout=self._timeout_s
        )
        async with client:
            request = client.build_request(
                "POST",
                target.copy_with(host=address),
                content=body,
                headers={**kept, "Host": target.netloc.decode("ascii"), "Accept-Encoding": "identity"},
                extensions={"sni_hostname": target.raw_host.decode("ascii")},
            )
            response = await client.send(request, stream=True)
            if response.is_redirect:
                raise EgressRefused(f"{_shown(target)} redirects (HTTP {response.status_code}); write the final URL")
            return Answer(response.status_code, dict(response.headers), await _body(response, target))

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._verify or httpx.create_ssl_context(trust_env=False)


def is_public(address: str) -> bool:
    """Whether an address is anybody's on the internet: not loopback, private, link-local (cloud metadata), multicast.

    IPv4 addresses inside IPv6 ones (mapped, 6to4, NAT64) count as what they carry.
    """
    parsed = _embedded(ip_address(address))
    return parsed.is_global and not parsed.is_multicast


_NAT64 = ip_network("64:ff9b::/96")


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


async def _body(response: httpx.Response, target: httpx.URL) -> bytes:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise EgressRefused(f"{_shown(target)} compressed its answer although it was asked not to")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BYTES:
            raise EgressRefused(f"the answer of {_shown(target)} has more than {MAX_BYTES} bytes")
    return bytes(body)


def _parsed(url: str) -> httpx.URL:
    try:
        target = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise EgressRefused(f"the URL cannot be read: {error}") from error
    if target.scheme not in ("http", "https") or not target.host:
        raise EgressRefused("the URL has to begin with http:// or https:// and a host name")
    if target.userinfo:
        raise EgressRefused("the URL carries a user name or password")
    return target


def _shown(target: httpx.URL) -> str:
    """Without path and query, which may hold a key."""
    return f"{target.scheme}://{target.netloc.decode('ascii')}"

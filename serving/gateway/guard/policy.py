"""Addresses that the server may call on behalf of a caller: public ones, and those that its operator allows."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from ....pipelines.errors import BadValue, UserError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LONGEST_URL = 8192
SCHEMES = ("http", "https")
KINDS: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "unspecified"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared between customers of a provider (CGNAT)"),
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "of a cloud's own services"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved"),
    ("192.0.2.0/24", "for documentation"),
    ("192.88.99.0/24", "of a 6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "for benchmarks"),
    ("198.51.100.0/24", "for documentation"),
    ("203.0.113.0/24", "for documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::/96", "IPv4 in IPv6"),
    ("::ffff:0:0/96", "IPv4 mapped to IPv6"),
    ("::ffff:0:0:0/96", "IPv4 translated to IPv6"),
    ("64:ff9b::/96", "IPv4 behind NAT64"),
    ("64:ff9b:1::/48", "IPv4 behind NAT64"),
    ("2001:db8::/32", "for documentation"),
    ("2001::/23", "reserved"),  # Teredo among others
    ("2002::/16", "IPv4 behind 6to4"),
    ("3fff::/20", "for documentation"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "private"),
    ("ff00::/8", "multicast"),
)
"""Networks that are not public; every IPv6 address outside 2000::/3 is refused as well."""
IN_LOW_BITS = (0, 0xFFFF, 0xFFFF0000, 0x64FF9B << 64)
"""The upper 96 bits of IPv6 addresses that carry an IPv4 address in the lower 32."""
UNSAFE = re.compile(r"[\x00-\x20\x7f-\x9f\\]")
USER = re.compile(r"[^/?#]*//[^/?#]*@")
NUMERIC_LABEL = re.compile(r"(?:\d+|0x[0-9a-f]*)", re.IGNORECASE)
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")


class Refused(UserError):
    """An address that the server does not call."""


@dataclass(frozen=True)
class Policy:
    """`allowed`: networks that may be called although they are not public."""

    allowed: tuple[Network, ...] = ()

    @classmethod
    def of(cls, networks: Iterable[str]) -> Policy:
        """Return the policy that allows these networks, such as '192.168.1.0/24'. Raises BadValue."""
        try:
            return cls(tuple(ipaddress.ip_network(one) for one in networks))
        except ValueError as error:
            raise BadValue(f"{error}: give a network such as 192.168.1.0/24 or fd00::/8") from error

    def problem(self, address: Address) -> str:
        """Return why an address may not be called, such as 'loopback', or ''. An IPv4 address inside an IPv6 one is
        looked at as well, so that allowing a translating network opens no private one behind it."""
        inner = embedded(address)
        if inner is not None and (problem := self.problem(inner)):
            return problem
        if any(address.version == network.version and address in network for network in self.allowed):
            return ""
        return kind_of(address)


def kind_of(address: Address) -> str:
    """Return the kind of an address that is not public, or ''."""
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        return "bound to a network interface"
    for network, kind in _kinds():
        if address.version == network.version and address in network:
            return kind
    public = address in GLOBAL_UNICAST if address.version == 6 else address.is_global
    return "" if public else "reserved"


def embedded(address: Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address carries (mapped, compatible, NAT64, 6to4, Teredo), or None."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    value = int(address)
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if value >> 32 in IN_LOW_BITS and value > 1:
        return ipaddress.IPv4Address(value & 0xFFFFFFFF)
    return None


def checked_url(text: str | URL, policy: Policy, what: str = "the URL") -> URL:
    """Return a URL that may be called as far as that is known before its name is resolved. Raises Refused."""
    written = str(text)
    if len(written) > LONGEST_URL:
        raise Refused(f"{what} is {len(written)} characters long: give one of at most {LONGEST_URL}")
    if UNSAFE.search(written):
        raise Refused(f"{what} contains a space, a backslash or a control character: write it percent-encoded")
    try:
        url = URL(written)
        port, host = url.port, url.raw_host
    except ValueError as error:
        raise Refused(f"{what} is not valid: {error}") from error
    if url.scheme not in SCHEMES:
        raise Refused(f"{what} has the scheme {url.scheme or 'none'!r}: give one that begins with http:// or https://")
    if not host or not port:
        raise Refused(f"{what} names no host, or port 0")
    if USER.match(written):
        raise Refused(f"{what} contains a user name or password: leave it out")
    if (address := literal(host)) is not None:
        _raise_for(address, policy, host, what)
    elif "%" in host or NUMERIC_LABEL.fullmatch(host.rstrip(".").rpartition(".")[2]):
        raise Refused(f"{what} writes an address as {host!r}: write it in full, in decimal, without leading zeros")
    return url


def literal(host: str) -> Address | None:
    """Return the address that a URL's host is, in strict notation; None for a name."""
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]").rstrip("."))
    except ValueError:
        return None


class PublicResolver(AbstractResolver):
    """Resolves names to addresses that may be called, which are those that aiohttp then connects to.

    A name with any address that may not be called is refused whole.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        for _, _, _, _, place in found:
            if self._policy.problem(ipaddress.ip_address(str(place[0]))):
                raise Refused(f"{host} is not a public host: give the URL of one")
        return [_result(host, port, each) for each in found]

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""


def _result(host: str, port: int, found: Sequence[object]) -> ResolveResult:
    family, _, protocol, _, place = found
    assert isinstance(family, int)
    assert isinstance(protocol, int)
    assert isinstance(place, tuple)
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=place[0], port=port, family=family, proto=protocol, flags=flags)


def _raise_for(address: Address, policy: Policy, host: str, what: str) -> None:
    if problem := policy.problem(address):
        raise Refused(f"{what} leads to {host}, whose address is {problem}: give a public one")


@functools.cache
def _kinds() -> tuple[tuple[Network, str], ...]:
    return tuple((ipaddress.ip_network(network), kind) for network, kind in KINDS)

"""Addresses that may be called for a caller, in every spelling."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import pytest
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.serving.gateway.guard.policy import Policy, PublicResolver, Refused, checked_url

PUBLIC = Policy()
NOT_PUBLIC = (
    "0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254",
    "169.254.169.254", "168.63.129.16", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1",
    "192.168.0.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255",
    "::", "::1", "::2", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8",
    "64:ff9b::8.8.8.8", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::",
    "2002:808:808::", "3fff::1", "4000::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "ff0e::1",
)  # fmt: skip
PUBLIC_ADDRESSES = ("8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2001:4860:4860::8888", "2606:4700::1111")


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert PUBLIC.problem(ipaddress.ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(Refused, match="give a public one"):
        checked_url(f"http://{host}:8188/a.png", PUBLIC)


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_a_public_address_is_called(address: str) -> None:
    assert PUBLIC.problem(ipaddress.ip_address(address)) == ""
    host = f"[{address}]" if ":" in address else address
    assert checked_url(f"https://{host}/a.png", PUBLIC).raw_host == address


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "017700000001", "0x7f000001", "0x7F.0.0.1", "0177.0.0.1", "127.1", "127.0.1", "0", "0x7f.1",
        "127.0.0.01", "1.2.3.4.5", "256.1.1.1", "127.0.0.0x1", "1.0x", "2130706433.", "127.1.",
    ],
)  # fmt: skip
def test_an_address_in_another_notation_is_refused(host: str) -> None:
    with pytest.raises(Refused):
        checked_url(f"http://{host}/a.png", PUBLIC)
    with pytest.raises(Refused):  # not even where loopback may be called: its spelling hides what it is
        checked_url(f"http://{host}/a.png", Policy.of(["127.0.0.0/8"]))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1./", "http://[::ffff:7f00:1]/", "http://[fe80::1%25eth0]/", "http://[::1%25lo]/",
        "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/", "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11/", "http://127\u30020\u30020\u30021/",
    ],
)  # fmt: skip
def test_a_disguised_address_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        checked_url(url, PUBLIC)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/passwd", "scheme 'file'"),
        ("ftp://example.org/a.png", "scheme 'ftp'"),
        ("gopher://example.org/", "scheme 'gopher'"),
        ("unix://example.org/a", "scheme"),
        ("//example.org/a.png", "scheme 'none'"),
        ("example.org/a.png", "scheme"),
        ("", "scheme"),
        ("http://", "not valid|no host"),
        ("http:///a.png", "not valid|no host"),
        ("http://example.org:0/", "no host, or port 0"),
        ("http://example.org:99999/", "not valid"),
        ("http://user:secret@example.org/", "user name or password"),
        ("http://user@example.org/", "user name or password"),
        ("http://:secret@example.org/", "user name or password"),
        ("http://@example.org/", "user name or password"),
        ("http://example.org@127.0.0.1/", "user name or password"),
        ("http://example.org\\@127.0.0.1/", "backslash"),
        ("http://example.org\r\nHost: other/", "control character"),
        ("http://example.org/a b", "space"),
        ("http://example.org/\x00", "control character"),
        ("http://[::1", "not valid"),
        ("http://example.org/" + "a" * 9000, "9019 characters"),
    ],
)
def test_what_is_no_plain_web_address_is_refused(url: str, why: str) -> None:
    with pytest.raises(Refused, match=why) as raised:
        checked_url(url, PUBLIC)
    assert "secret" not in str(raised.value)


def test_a_network_can_be_allowed() -> None:
    policy = Policy.of(["192.168.1.0/24", "fd00::/8"])
    assert checked_url("http://192.168.1.7/a.png", policy).host == "192.168.1.7"
    assert checked_url("http://[fd00::5]/a.png", policy).host == "fd00::5"
    with pytest.raises(Refused):
        checked_url("http://192.168.2.7/", policy)


def test_allowing_a_translating_network_opens_no_private_address_behind_it() -> None:
    policy = Policy.of(["64:ff9b::/96", "::ffff:0:0/96", "2002::/16"])
    for address in ("64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "::ffff:127.0.0.1", "2002:7f00:1::", "2002:a00:1::"):
        assert policy.problem(ipaddress.ip_address(address))
    for address in ("64:ff9b::8.8.8.8", "::ffff:8.8.8.8", "2002:808:808::"):
        assert policy.problem(ipaddress.ip_address(address)) == ""


def test_a_wrong_network_is_an_error() -> None:
    with pytest.raises(BadValue, match=r"give a network such as 192\.168\.1\.0/24"):
        Policy.of(["192.168.1.7/24"])


def test_a_name_is_refused_if_any_of_its_addresses_is_not_public(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(host: str, port: int, *rest: object, **more: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    with pytest.raises(Refused, match=r"example\.org is not a public host"):
        asyncio.run(PublicResolver(PUBLIC).resolve("example.org", 80))
    resolved = asyncio.run(PublicResolver(Policy.of(["10.0.0.0/8"])).resolve("example.org", 80))
    assert [one["host"] for one in resolved] == ["8.8.8.8", "10.0.0.1"]


def test_localhost_is_not_public() -> None:
    with pytest.raises(Refused):
        asyncio.run(PublicResolver(PUBLIC).resolve("localhost", 80))
    assert asyncio.run(PublicResolver(Policy.of(["127.0.0.0/8", "::1/128"])).resolve("localhost", 80))

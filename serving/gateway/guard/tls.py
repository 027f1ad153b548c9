"""A local certificate authority, and a door that ends TLS for the names of the hosted services.

A program whose variable HTTPS_PROXY names the gateway asks it by CONNECT for a tunnel to, say, queue.fal.run:443. The
door answers itself, with a certificate of the local authority, and hands the requests inside to the gateway. Nothing
is forwarded. The authority's certificate is limited to the names of the hosted services (RFC 5280, 4.2.1.10), so that
whoever trusts it trusts it for nothing else, and whoever steals its key can't imitate other hosts.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import ssl
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ....pipelines.errors import BadFile
from ....pipelines.files import write_file

CERTIFICATE, KEY, BUNDLE, HOSTS = "ca.pem", "ca.key", "ca-bundle.pem", "hosts.pem"
DOMAINS = ("fal.run", "fal.ai", "fal.media", "falrun.com")
YEAR = datetime.timedelta(days=365)
LONGEST_HEAD = 8192
HEAD_SECONDS = 10.0
HTTPS = "443"


class Authority:
    """The authority in a folder, made at the first use; its key is readable by its user alone. Raises BadFile."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.bundle = folder / CERTIFICATE, folder / BUNDLE
        self._folder = folder
        if not (folder / KEY).exists() or not self.certificate.exists():
            self._make()
        try:
            self._key = serialization.load_pem_private_key((folder / KEY).read_bytes(), None)
            self._own = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        except (ValueError, TypeError) as error:
            raise BadFile(
                f"the certificate authority in {folder} can't be read: delete the folder ({error})"
            ) from error
        if self._own.not_valid_after_utc < datetime.datetime.now(datetime.timezone.utc) + YEAR / 12:
            raise BadFile(
                f"the certificate authority in {folder} has expired: delete the folder, and trust the new one"
            )

    def context(self, hosts: Collection[str]) -> ssl.SSLContext:
        """Return the TLS settings of a server with a new certificate for these names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [_general_name(host) for host in sorted(hosts)]
        builder = (
            _builder(_name("Fooocus Stages, served here"), self._own.subject, key.public_key(), YEAR)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(self._identifier(), critical=False)
        )
        assert isinstance(self._key, ec.EllipticCurvePrivateKey)
        signed = builder.sign(self._key, hashes.SHA256())
        _write_secret(self._folder / HOSTS, _pem(key) + signed.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._folder / HOSTS)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _make(self) -> None:
        key, name = ec.generate_private_key(ec.SECP256R1()), _name("Fooocus Stages, local authority")
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = (
            _builder(name, name, key.public_key(), 5 * YEAR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.NameConstraints([x509.DNSName(one) for one in DOMAINS], None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        _write_secret(self._folder / KEY, _pem(key))
        write_file(self.certificate, certificate)
        write_file(self.bundle, certificate + _trusted_elsewhere())

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        own = self._own.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


class Door(asyncio.Protocol):
    """Ends TLS for CONNECT requests to `hosts`, and hands every other connection to a handler of plain HTTP."""

    def __init__(
        self, handler: Callable[[], asyncio.Protocol], context: ssl.SSLContext, hosts: Collection[str]
    ) -> None:
        self._handler, self._context, self._hosts = handler, context, hosts
        self._head = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(HEAD_SECONDS, transport.abort)

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_timer()

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._head += data
        verb = b"CONNECT "
        if self._head[: len(verb)] != verb[: len(self._head)]:
            self._hand_over(self._transport)
        elif (end := self._head.find(b"\r\n\r\n")) >= 0:
            self._connect(self._transport, bytes(self._head[:end]), bool(self._head[end + 4 :]))
        elif len(self._head) > LONGEST_HEAD:
            self._refuse(self._transport, "431 Request Header Fields Too Large", "the request's head is too long")

    def _hand_over(self, transport: asyncio.Transport) -> None:
        self._stop_timer()
        handler = self._handler()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(bytes(self._head))

    def _connect(self, transport: asyncio.Transport, head: bytes, more: bool) -> None:
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        host, _, port = words[1].rpartition(":")
        if len(words) != 3 or not words[2].startswith("HTTP/1.") or more:
            self._refuse(transport, "400 Bad Request", "this is no CONNECT request")
        elif host.lower() not in self._hosts or port != HTTPS:
            names = ", ".join(sorted(self._hosts))
            self._refuse(transport, "403 Forbidden", f"this proxy answers for {names} alone; name others in NO_PROXY")
        else:
            transport.pause_reading()  # what follows belongs to TLS
            transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._task = asyncio.get_running_loop().create_task(self._start_tls(transport))

    async def _start_tls(self, transport: asyncio.Transport) -> None:
        loop, inner = asyncio.get_running_loop(), _Waiting(self._handler())
        try:
            secured = await loop.start_tls(
                transport, inner, self._context, server_side=True, ssl_handshake_timeout=HEAD_SECONDS
            )
        except (OSError, ssl.SSLError):  # a client that does not trust the authority
            transport.abort()
        else:
            if secured is not None:
                inner.begin(secured)
        finally:
            self._stop_timer()

    def _refuse(self, transport: asyncio.Transport, status: str, sentence: str) -> None:
        body = sentence.encode()
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        transport.write(head.encode() + body)
        transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class _Waiting(asyncio.Protocol):
    """Keeps what arrives with the end of the handshake until the handler has its connection."""

    def __init__(self, handler: asyncio.Protocol) -> None:
        self._handler = handler
        self._early = bytearray()

    def data_received(self, data: bytes) -> None:
        self._early += data

    def begin(self, transport: asyncio.Transport) -> None:
        """Give the connection to the handler."""
        transport.set_protocol(self._handler)
        self._handler.connection_made(transport)
        if self._early:
            self._handler.data_received(bytes(self._early))


class DoorSite(web.BaseSite):
    """A site of aiohttp's that listens for plain HTTP and CONNECT at one port."""

    def __init__(
        self, runner: web.AppRunner, context: ssl.SSLContext, hosts: Collection[str], host: str, port: int
    ) -> None:
        super().__init__(runner)
        self._context, self._hosts, self._host, self._port = context, hosts, host, port

    @property
    def name(self) -> str:
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        await super().start()
        handler = self._runner.server
        assert handler is not None
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Door(handler, self._context, self._hosts), self._host, self._port
        )


def client_variables(address: str, authority: Authority) -> Sequence[tuple[str, str]]:
    """Return the environment variables with which Python's and Node's clients use the door at an address."""
    return (
        ("HTTPS_PROXY", address),
        ("SSL_CERT_FILE", str(authority.bundle)),
        ("NODE_EXTRA_CA_CERTS", str(authority.certificate)),
        ("NODE_USE_ENV_PROXY", "1"),
        ("NO_PROXY", "127.0.0.1"),
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + lifetime)
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_secret(path: Path, data: bytes) -> None:
    previous = os.umask(0o077)
    try:
        write_file(path, data)
    finally:
        os.umask(previous)


def _trusted_elsewhere() -> bytes:
    """The certificates that programs trust without the bundle, which takes the place of their own."""
    try:
        import certifi
    except ImportError:
        own = ssl.get_default_verify_paths().cafile
        return Path(own).read_bytes() if own else b""
    return Path(certifi.where()).read_bytes()

"""Fetches addresses that a job named: public ones only, connected to exactly what was checked, on each redirect again, up to a size."""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

REDIRECTS = 5
MOST_BYTES = 5 * 1024**3
CARRIER_NAT = ipaddress.ip_network("100.64.0.0/10")


class SSRFError(ValueError):
    """An address that must not be fetched. No OSError: it must not pass for a download that failed by chance."""


def is_safe_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text.split("%")[0])
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    if address.version == 4 and address in CARRIER_NAT:
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_private)


def max_download_bytes() -> int:
    text = os.environ.get("RUNPOD_MAX_DOWNLOAD_BYTES", "")
    return int(text) if text.isdigit() and int(text) > 0 else MOST_BYTES


def resolve_and_validate(host: str, port: int) -> list[str]:
    """Every address of the host; one that is not public makes all of them suspect."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SSRFError(f"could not resolve host {host!r}: {error}") from error
    addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
    allows_private = os.environ.get("RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS", "").strip().lower() in ("1", "true", "yes")
    for address in addresses:
        if not allows_private and not is_safe_address(address):
            raise SSRFError(f"host {host!r} resolves to non-public address {address}")
    return addresses


@contextmanager
def safe_get(url: str, *, timeout: float, headers: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
    """The final answer of a GET; OSError for a status that is no success."""
    for _ in range(REDIRECTS + 1):
        connection = _connect(url, timeout)
        try:
            parts = urlsplit(url)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", target, headers={**headers, "Accept-Encoding": "identity"})
            response = connection.getresponse()
            location = response.getheader("Location")
            if response.status in (301, 302, 303, 307, 308) and location:
                url = urljoin(url, location)
                continue
            if response.status >= 400:
                raise OSError(f"{response.status} {response.reason} for {url}")
            yield response
            return
        finally:
            connection.close()
    raise OSError(f"more than {REDIRECTS} redirects")


def iter_content_capped(response: http.client.HTTPResponse, chunk_size: int, max_bytes: int) -> Iterator[bytes]:
    total = 0
    for chunk in iter(lambda: response.read(chunk_size), b""):
        total += len(chunk)
        if total > max_bytes:
            raise SSRFError(f"the download is larger than {max_bytes} bytes")
        yield chunk


def _connect(url: str, timeout: float) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SSRFError(f"only http and https addresses are fetched, not {url!r:.200}")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = resolve_and_validate(parts.hostname, port)[0]
    if parts.scheme == "https":
        return _PinnedHttps(parts.hostname, port, address, timeout)
    return _Pinned(parts.hostname, port, address, timeout)


class _Pinned(http.client.HTTPConnection):
    """Connects to the address that was checked, whatever the name means by now; a proxy of the environment is not asked."""

    def __init__(self, host: str, port: int, address: str, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self._address = address

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)


class _PinnedHttps(_Pinned):
    default_port = 443

    def connect(self) -> None:
        super().connect()
        self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)

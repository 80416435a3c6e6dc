"""Puts a file into an S3 bucket and signs an address for it: Signature Version 4, path style, as boto3 does with a custom endpoint."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import http.client
import time
from typing import BinaryIO
from urllib.parse import quote, urlsplit

TRIES = 3
WEEK_S = 604_800


class S3Error(OSError):
    pass


class Bucket:
    def __init__(self, endpoint: str, key_id: str, secret: str, name: str) -> None:
        self._url = urlsplit(endpoint.rstrip("/"))
        self._key_id = key_id
        self._secret = secret
        self._name = name
        self._region = region_of(endpoint)

    def put(self, key: str, content: BinaryIO, content_type: str | None = None, headers: dict[str, str] | None = None) -> None:
        digest = hashlib.sha256()
        size = 0
        for chunk in iter(lambda: content.read(1 << 20), b""):
            digest.update(chunk)
            size += len(chunk)
        now = datetime.datetime.now(datetime.timezone.utc)
        own = {"host": self._url.netloc, "x-amz-content-sha256": digest.hexdigest(), "x-amz-date": stamp(now), "content-length": str(size)}
        sent = {**own, **({"content-type": content_type} if content_type else {}), **{name.lower(): value for name, value in (headers or {}).items()}}
        signed = {name: value for name, value in sent.items() if name in ("host", "content-type") or name.startswith("x-amz-")}
        scope, names, signature = self._sign("PUT", self._path(key), "", signed, digest.hexdigest(), now)
        sent["authorization"] = f"AWS4-HMAC-SHA256 Credential={self._key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
        for tries in range(1, TRIES + 1):
            content.seek(0)
            try:
                status, text = self._send("PUT", self._path(key), sent, content)
            except (OSError, http.client.HTTPException) as error:
                status, text = 0, str(error)
            if 200 <= status < 300:
                return
            if tries == TRIES or 400 <= status < 500:
                raise S3Error(f"Cannot upload {key} to bucket {self._name}: {status or 'no answer'} {text[:300]}")
            time.sleep(tries)

    def presigned_url(self, key: str, expires_s: int = WEEK_S) -> str:
        now = datetime.datetime.now(datetime.timezone.utc)
        scope = f"{now:%Y%m%d}/{self._region}/s3/aws4_request"
        items = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self._key_id}/{scope}",
            "X-Amz-Date": stamp(now),
            "X-Amz-Expires": str(expires_s),
            "X-Amz-SignedHeaders": "host",
        }
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in items.items())
        _, _, signature = self._sign("GET", self._path(key), query, {"host": self._url.netloc}, "UNSIGNED-PAYLOAD", now)
        return f"{self._url.scheme}://{self._url.netloc}{self._path(key)}?{query}&X-Amz-Signature={signature}"

    def _path(self, key: str) -> str:
        return f"{self._url.path}/{quote(self._name)}/{quote(key, safe='/~')}"

    def _sign(self, method: str, path: str, query: str, headers: dict[str, str], digest: str, now: datetime.datetime) -> tuple[str, str, str]:
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name].strip()}\n" for name in sorted(headers))
        canonical = "\n".join([method, path, query, lines, names, digest])
        scope = f"{now:%Y%m%d}/{self._region}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", stamp(now), scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = f"AWS4{self._secret}".encode()
        for part in (f"{now:%Y%m%d}", self._region, "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return scope, names, hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    def _send(self, method: str, path: str, headers: dict[str, str], content: BinaryIO) -> tuple[int, str]:
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._url.hostname or "", self._url.port, timeout=60)
        try:
            connection.request(method, path, body=content, headers=headers)
            response = connection.getresponse()
            return response.status, response.read(4096).decode("utf-8", "replace")
        finally:
            connection.close()


def stamp(now: datetime.datetime) -> str:
    return f"{now:%Y%m%dT%H%M%SZ}"


def region_of(endpoint: str) -> str:
    """From an address such as https://NAME.s3.REGION.amazonaws.com; boto3's own default else."""
    if ".s3." in endpoint:
        return endpoint.split(".s3.")[1].split(".")[0]
    if urlsplit(endpoint).netloc.endswith(".digitaloceanspaces.com"):
        return endpoint.split(".")[1].split(".digitaloceanspaces.com")[0]
    return "us-east-1"

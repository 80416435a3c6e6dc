"""An S3 server for tests: moto's own server behind a check of every signature, with botocore's implementation of it.

Prints its port, then serves until its standard input ends. Arguments: ACCESS_KEY SECRET_KEY REGION BUCKET.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.s3.models import s3_backends
from moto.server import create_backend_app
from werkzeug.serving import make_server

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class SignedOnly:
    """Lets through what carries a valid signature: in the header for writing, in the header or the query for reading."""

    def __init__(self, app: Wsgi, credentials: Credentials, region: str) -> None:
        self.app, self.credentials, self.region = app, credentials, region

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        fault = self.fault_of(environ, body)
        if fault is None:
            return self.app(environ, start_response)
        xml = f"<Error><Code>{fault}</Code><Message>Refused.</Message><AWSAccessKeyId>{self.credentials.access_key}</AWSAccessKeyId></Error>"
        start_response("403 Forbidden", [("Content-Type", "application/xml")])
        return [xml.encode()]

    def fault_of(self, environ: dict[str, Any], body: bytes) -> str | None:
        query = dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
        headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
        headers["content-type"] = environ.get("CONTENT_TYPE", "")
        header = headers.get("authorization", "")
        if "X-Amz-Signature" in query:
            scope, signed, given = query["X-Amz-Credential"], query["X-Amz-SignedHeaders"], query.pop("X-Amz-Signature")
            stamp = query["X-Amz-Date"]
            age = datetime.now(UTC) - datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            if not 0 < int(query["X-Amz-Expires"]) <= 604_800 or age > timedelta(seconds=int(query["X-Amz-Expires"])):
                return "AccessDenied"
        elif header.startswith("AWS4-HMAC-SHA256 "):
            fields = dict(part.strip().split("=", 1) for part in header.split(" ", 1)[1].split(","))
            scope, signed, given = fields["Credential"], fields["SignedHeaders"], fields["Signature"]
            stamp = headers["x-amz-date"]
            if hashlib.sha256(body).hexdigest() != headers["x-amz-content-sha256"]:
                return "XAmzContentSHA256Mismatch"
        else:
            return "AccessDenied"
        access_key, _day, region, service, _end = scope.split("/")
        if access_key != self.credentials.access_key:
            return "InvalidAccessKeyId"
        if region != self.region or service != "s3":
            return "AuthorizationHeaderMalformed"
        kind = S3SigV4QueryAuth if "X-Amz-Expires" in query else S3SigV4Auth
        auth = kind(self.credentials, "s3", self.region)
        url = f"http://{headers['host']}{quote(environ['PATH_INFO'].encode('latin-1'), safe='/~-_.')}?{urlencode(query, quote_via=quote)}"
        request = AWSRequest(environ["REQUEST_METHOD"], url, {name: headers[name] for name in signed.split(";")})
        request.context["timestamp"] = stamp
        expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
        return None if hmac.compare_digest(expected, given) else "SignatureDoesNotMatch"


def main() -> None:
    access_key, secret_key, region, bucket = sys.argv[1:]
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = create_backend_app("s3")
    server = make_server("127.0.0.1", 0, SignedOnly(app, Credentials(access_key, secret_key), region), threaded=True)
    s3_backends["123456789012"]["aws"].create_bucket(bucket, region)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()

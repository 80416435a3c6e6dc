"""fettle's stand-in for the runpod package against the real one: each is asked in a process of its own, because both have one name."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

STAND_IN = Path(__file__).parents[3] / "src/engines/python/helper/sdk"
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith(("RUNPOD_", "BUCKET_"))}


def ask(code: str, *, real: bool, cwd: Path, env: dict[str, str] | None = None) -> str:
    """What the code prints; `real`: with the installed SDK."""
    paths = {} if real else {"PYTHONPATH": str(STAND_IN)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env={**PLAIN, "HOME": str(cwd), **paths, **(env or {})}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


VALIDATE = """
import json, sys
from runpod.serverless.utils.rp_validator import validate
import runpod
SCHEMAS = {
    "full": {
        "prompt": {"type": str, "required": True},
        "steps": {"type": int, "required": False, "default": 20, "constraints": lambda value: 0 < value < 100},
        "scale": {"type": float, "required": True, "constraints": lambda value: value > 1},
        "names": {"type": list, "required": False, "default": []},
        "flag": {"type": bool, "required": False, "default": None},
    },
    "no type": {"a": {"required": True}},
    "no required": {"a": {"type": int}},
    "no default": {"a": {"type": int, "required": False}},
    "text": {"a": '{"required": false, "default": 1, "type": "int"}'},
    "broken": {"a": "nope"},
    "empty": {},
}
INPUTS = [
    {}, {"prompt": "x", "scale": 2}, {"prompt": "x", "scale": 2.5, "steps": 500}, {"prompt": 1, "scale": "2"}, {"prompt": "x", "scale": 1, "steps": "7"},
    {"prompt": "x", "scale": 7, "names": None, "more": 1}, {"prompt": "x", "scale": True, "flag": True}, {"a": 1}, {"a": "x"}, {"a": None},
]
for name, schema in SCHEMAS.items():
    for given in INPUTS:
        before = dict(given)
        try:
            said = validate(given, dict(schema))
        except Exception as error:
            said = type(error).__name__
        print(name, given, said, given == before)
"""


def test_validate_says_what_the_sdk_says(tmp_path: Path) -> None:
    real = ask(VALIDATE, real=True, cwd=tmp_path)
    assert "does not meet the constraints" in real and "Unexpected input" in real
    assert ask(VALIDATE, real=False, cwd=tmp_path) == real


# Without `tip`, which raises in runpod 1.12.0.
LOG = """
from runpod import RunPodLogger
from runpod.serverless import log
from runpod.serverless.modules.rp_logger import RunPodLogger as Same
print(RunPodLogger() is Same() is log)
log.info("hällo", "job-1")
log.debug({"a": 1})
log.warn("x" * 5000)
log.secret("key", "abcdef")
log.trace("hidden")
log.set_level("ERROR")
log.set_level(2)
log.error("e", request_id="r")
try:
    log.set_level("loud")
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize("env", [{}, {"RUNPOD_ENDPOINT_ID": "ep"}, {"RUNPOD_LOG_LEVEL": "warn"}], ids=["plain", "json", "level"])
def test_the_logger_writes_the_sdks_lines(tmp_path: Path, env: dict[str, str]) -> None:
    assert ask(LOG, real=False, cwd=tmp_path, env=env) == ask(LOG, real=True, cwd=tmp_path, env=env)


CLEAN = """
import os
from runpod.serverless.utils.rp_cleanup import clean
for name in ["input_objects", "output_objects", "job_files", "mine", "other"]:
    os.makedirs(name + "/inner", exist_ok=True)
open("output.zip", "w").close()
clean(["mine"])
clean()
print(sorted(os.listdir(".")))
"""


def test_clean_removes_the_same_folders(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert ask(CLEAN, real=False, cwd=tmp_path / "a") == ask(CLEAN, real=True, cwd=tmp_path / "b")


def test_without_a_bucket_files_are_saved_where_the_sdk_saves_them(tmp_path: Path) -> None:
    code = """
from runpod.serverless.utils import rp_upload, upload_file_to_bucket, upload_in_memory_object
open("a.png", "wb").write(b"PNG")
places = [None, None]
rp_upload.upload_image("job", "a.png", 1, places)
print(places[0], places[1].startswith("simulated_uploaded/") and places[1].endswith(".png"), open(places[1], "rb").read())
print(upload_file_to_bucket("b.png", "a.png", prefix="p"), upload_in_memory_object("c.bin", b"x"), open("local_upload/b.png", "rb").read())
"""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert ask(code, real=False, cwd=tmp_path / "a") == ask(code, real=True, cwd=tmp_path / "b")


PRESIGN = """
import datetime
ENDPOINTS = ["https://mine.s3.eu-west-1.amazonaws.com", "http://127.0.0.1:9000", "https://nyc3.digitaloceanspaces.com", "https://account.r2.cloudflarestorage.com"]
KEYS = ["job 1/ä+b.png", "a/b~c.png"]
"""
OURS = (
    PRESIGN
    + """
from runpod.serverless.utils import s3
class Fixed(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=tz)
s3.datetime.datetime = Fixed
for endpoint in ENDPOINTS:
    for key in KEYS:
        print(s3.Bucket(endpoint, "AKID", "SECRET", "09-26").presigned_url(key))
"""
)
THEIRS = (
    PRESIGN
    + """
import botocore.auth
from runpod.serverless.utils.rp_upload import get_boto_client
botocore.auth.get_current_datetime = lambda *_, **__: datetime.datetime(2026, 1, 2, 3, 4, 5)
for endpoint in ENDPOINTS:
    for key in KEYS:
        client, _ = get_boto_client({"endpointUrl": endpoint, "accessId": "AKID", "accessSecret": "SECRET"})
        print(client.generate_presigned_url("get_object", Params={"Bucket": "09-26", "Key": key}, ExpiresIn=604800))
"""
)


def test_presigned_addresses_are_signed_as_boto3_signs_them(tmp_path: Path) -> None:
    assert ask(OURS, real=False, cwd=tmp_path).splitlines() == ask(THEIRS, real=True, cwd=tmp_path).splitlines()


class Bucket(http.server.BaseHTTPRequestHandler):
    """Takes uploads; the first is refused by a 503, to be tried again."""

    seen: list[tuple[str, dict[str, str], bytes]]

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(503 if len(type(self).seen) == 1 else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        body = b"x" * 1000
        self.send_response(200)
        self.send_header("Content-Disposition", 'attachment; filename="cat.png"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def local_server():
    kind = type("Own", (Bucket,), {"seen": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_upload_is_signed_whole_and_tried_again(tmp_path: Path, local_server) -> None:
    code = """
import runpod
from runpod.serverless.utils import rp_upload
open("a.png", "wb").write(b"PNG" * 1000)
print(rp_upload.upload_file_to_bucket("b c.png", "a.png", prefix="job", extra_args={"ContentType": "image/png", "Metadata": {"by": "me"}}))
print(rp_upload.upload_image("job", "a.png", bucket_name="mine"))
"""
    url = f"http://127.0.0.1:{local_server.server_address[1]}"
    env = {"BUCKET_ENDPOINT_URL": url, "BUCKET_ACCESS_KEY_ID": "AKID", "BUCKET_SECRET_ACCESS_KEY": "SECRET"}
    first, second = ask(code, real=False, cwd=tmp_path, env=env).splitlines()
    seen = local_server.RequestHandlerClass.seen
    assert [path.split("/")[2:] for path, _, _ in seen[:2]] == [["job", "b%20c.png"]] * 2 and seen[2][0].startswith("/mine/job/")
    assert all(body == b"PNG" * 1000 for _, _, body in seen)
    headers = seen[1][1]
    assert headers["content-type"] == "image/png" and headers["x-amz-meta-by"] == "me"
    assert "SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-meta-by" in headers["authorization"]
    assert first.startswith(f"{url}{seen[0][0]}?X-Amz-Algorithm=") and second.startswith(f"{url}/mine/job/")
    check_signature("PUT", seen[1], "SECRET")


def check_signature(method: str, request: tuple[str, dict[str, str], bytes], secret: str) -> None:
    """By botocore's own signer."""
    auth = pytest.importorskip("botocore.auth")
    awsrequest = pytest.importorskip("botocore.awsrequest")
    credentials = pytest.importorskip("botocore.credentials")
    path, headers, body = request
    given = headers["authorization"]
    signed = {name: headers[name] for name in given.split("SignedHeaders=")[1].split(",")[0].split(";")}
    asked = awsrequest.AWSRequest(method=method, url=f"http://{headers['host']}{path}", headers=signed, data=body)
    asked.context["timestamp"] = headers["x-amz-date"]
    signer = auth.S3SigV4Auth(credentials.Credentials("AKID", secret), "s3", "us-east-1")
    text = signer.string_to_sign(asked, signer.canonical_request(asked))
    assert given.endswith(f"Signature={signer.signature(text, asked)}")


def test_downloads_come_from_public_addresses_only(tmp_path: Path, local_server) -> None:
    code = """
import os
from runpod.serverless.utils import download_files_from_urls, rp_download
from runpod.serverless.utils.rp_ssrf import SSRFError, is_safe_address
url = os.environ["TEST_URL"]
for one in [url, "file:///etc/passwd", "http://localhost/", "http://[::1]/", "http://0/", "http://[::ffff:127.0.0.1]/"]:
    try:
        rp_download.file(one)
        print("fetched", one)
    except (SSRFError, ValueError) as error:
        print(type(error).__name__)
os.environ["RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS"] = "true"
told = rp_download.file(url + "/some/path?x=1")
print(told["type"], told["original_name"], os.path.getsize(told["file_path"]), told["extracted_path"])
one, none = download_files_from_urls("job", [url, None])
print(os.path.relpath(one).startswith("jobs/job/downloaded_files/"), one.endswith(".png"), os.path.getsize(one), none)
os.environ["RUNPOD_MAX_DOWNLOAD_BYTES"] = "999"
try:
    rp_download.file(url)
except SSRFError:
    print("too large")
print([is_safe_address(ip) for ip in ["8.8.8.8", "10.0.0.1", "100.64.0.1", "169.254.169.254", "224.0.0.1", "::1", "fe80::1", "2606:4700::1", "nonsense"]])
"""
    url = f"http://127.0.0.1:{local_server.server_address[1]}"
    ours = ask(code, real=False, cwd=tmp_path, env={"TEST_URL": url})
    assert ours == ask(code, real=True, cwd=tmp_path, env={"TEST_URL": url})
    assert "fetched" not in ours and "too large" in ours


def test_what_is_not_in_it_says_how_to_get_it(tmp_path: Path) -> None:
    code = """
import json, runpod
try:
    runpod.create_pod()
except AttributeError as error:
    print(error)
try:
    runpod.serverless.start({"handler": print})
except RuntimeError as error:
    print(error)
print(json.dumps(runpod.__version__))
"""
    said = ask(code, real=False, cwd=tmp_path)
    assert "has no 'create_pod'; install the SDK for it: pip install runpod" in said and "serves no jobs" in said
    assert json.loads(said.splitlines()[-1]) == "1.12.0"

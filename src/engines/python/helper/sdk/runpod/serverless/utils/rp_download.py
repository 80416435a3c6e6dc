"""Downloads what a job names by URL."""

from __future__ import annotations

import os
import time
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from .rp_ssrf import iter_content_capped, max_download_bytes, safe_get

HEADERS = {"User-Agent": "runpod-python/0.0.0 (https://runpod.io; support@runpod.io)"}
CHUNK_BYTES = 1 << 20
TRIES = 3


def download_files_from_urls(job_id: str, urls: str | list[str | None]) -> list[str | None]:
    """Paths below jobs/JOB/downloaded_files, in the order of the URLs; None for one that could not be downloaded."""
    folder = os.path.abspath(os.path.join("jobs", job_id, "downloaded_files"))
    os.makedirs(folder, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda url: _download(url, folder), [urls] if isinstance(urls, str) else urls))


def file(file_url: str) -> dict[str, Any]:
    """Downloads one file into ./job_files; a zip is unpacked beside it."""
    os.makedirs("job_files", exist_ok=True)
    with safe_get(file_url, timeout=30, headers=HEADERS) as response:
        original = extract_disposition_params(response.getheader("Content-Disposition") or "").get("filename", "") or os.path.basename(urlsplit(file_url).path)
        kind = os.path.splitext(original)[1].replace(".", "")
        name = str(uuid.uuid4())
        place = os.path.join("job_files", f"{name}.{kind}")
        _save(response, place)
    unpacked = None
    if kind == "zip":
        unpacked = os.path.abspath(os.path.join("job_files", name))
        os.makedirs(unpacked, exist_ok=True)
        with zipfile.ZipFile(place, "r") as archive:
            archive.extractall(unpacked)
    return {"file_path": os.path.abspath(place), "type": kind, "original_name": original, "extracted_path": unpacked}


def extract_disposition_params(content_disposition: str) -> dict[str, str]:
    pairs = (part.strip().split("=", 1) for part in content_disposition.split(";") if "=" in part)
    return {key.strip().lower(): value.strip().strip('"') for key, value in pairs}


def _download(url: str | None, folder: str) -> str | None:
    if url is None:
        return None
    place = os.path.join(folder, str(uuid.uuid4()))
    for tries in range(1, TRIES + 1):
        try:
            with safe_get(url, timeout=5, headers=HEADERS) as response:
                named = extract_disposition_params(response.getheader("Content-Disposition") or "").get("filename", "")
                extension = os.path.splitext(named)[1] or os.path.splitext(urlsplit(url).path)[1]
                _save(response, place + extension)
            return os.path.abspath(place + extension)
        except (OSError, HTTPException) as error:
            if tries == TRIES:
                print(f"Failed to download {url}: {error}")
                return None
            time.sleep(tries)
    return None


def _save(response: HTTPResponse, place: str) -> None:
    with open(place, "wb") as target:
        for chunk in iter_content_capped(response, CHUNK_BYTES, max_download_bytes()):
            target.write(chunk)

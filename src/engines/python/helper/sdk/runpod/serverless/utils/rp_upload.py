"""Uploads to the bucket of BUCKET_ENDPOINT_URL, BUCKET_ACCESS_KEY_ID and BUCKET_SECRET_ACCESS_KEY; without them into a local folder, as the SDK does."""

from __future__ import annotations

import io
import logging
import os
import shutil
import threading
import time
import uuid
from typing import Any, BinaryIO

from .s3 import Bucket

logger = logging.getLogger("runpod upload utility")


def upload_image(job_id: str, image_location: str, result_index: int = 0, results_list: list[str | None] | None = None, bucket_name: str | None = None) -> str:
    """Uploads one image and gives its address, which holds for a week; or its path below ./simulated_uploaded."""
    extension = os.path.splitext(image_location)[1]
    name = f"{str(uuid.uuid4())[:8]}{extension}"
    bucket = _bucket(None, bucket_name)
    if bucket is None:
        place = _save_here("simulated_uploaded", name, source=image_location)
    else:
        with open(image_location, "rb") as file:
            bucket.put(f"{job_id}/{name}", file, f"image/{extension.lstrip('.')}")
        place = bucket.presigned_url(f"{job_id}/{name}")
    if results_list is not None:
        results_list[result_index] = place
    return place


def files(job_id: str, file_list: list[str]) -> list[str | None]:
    """Uploads several at once; None stands for one that failed."""
    places: list[str | None] = [None] * len(file_list)
    threads = [threading.Thread(target=upload_image, args=(job_id, file, index, places)) for index, file in enumerate(file_list)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return places


def bucket_upload(job_id: str, file_list: list[str], bucket_creds: dict[str, str]) -> list[str]:
    bucket = _bucket(bucket_creds, bucket_creds["bucketName"])
    if bucket is None:
        raise ValueError("bucket_creds needs endpointUrl, accessId and accessSecret")
    for name in file_list:
        with open(name, "rb") as file:
            bucket.put(f"{job_id}/{name}", file)
    return [f"{bucket_creds['endpointUrl']}/{bucket_creds['bucketName']}/{job_id}/{name}" for name in file_list]


def upload_file_to_bucket(
    file_name: str,
    file_location: str,
    bucket_creds: dict[str, str] | None = None,
    bucket_name: str | None = None,
    prefix: str | None = None,
    extra_args: dict[str, Any] | None = None,
) -> str:
    """`extra_args` as boto3 has them: ContentType, and whatever is a header of the same name."""
    bucket = _bucket(bucket_creds, bucket_name)
    if bucket is None:
        return _save_here("local_upload", file_name, source=file_location)
    with open(file_location, "rb") as file:
        return _put(bucket, _key(prefix, file_name), file, extra_args)


def upload_in_memory_object(
    file_name: str, file_data: bytes, bucket_creds: dict[str, str] | None = None, bucket_name: str | None = None, prefix: str | None = None
) -> str:
    bucket = _bucket(bucket_creds, bucket_name)
    if bucket is None:
        return _save_here("local_upload", file_name, content=file_data)
    return _put(bucket, _key(prefix, file_name), io.BytesIO(file_data), None)


EXTRA_HEADERS = {
    "ACL": "x-amz-acl",
    "CacheControl": "cache-control",
    "ContentDisposition": "content-disposition",
    "ContentEncoding": "content-encoding",
    "StorageClass": "x-amz-storage-class",
    "ServerSideEncryption": "x-amz-server-side-encryption",
}


def _put(bucket: Bucket, key: str, content: BinaryIO, extra_args: dict[str, Any] | None) -> str:
    extra = dict(extra_args or {})
    content_type = extra.pop("ContentType", None)
    headers = {f"x-amz-meta-{name}": str(value) for name, value in extra.pop("Metadata", {}).items()}
    for name, value in extra.items():
        if name not in EXTRA_HEADERS:
            raise ValueError(f"extra_args: {name} is not supported without boto3; known are ContentType, Metadata, {', '.join(EXTRA_HEADERS)}")
        headers[EXTRA_HEADERS[name]] = str(value)
    bucket.put(key, content, content_type, headers)
    return bucket.presigned_url(key)


def _key(prefix: str | None, file_name: str) -> str:
    return f"{prefix}/{file_name}" if prefix else file_name


def _bucket(creds: dict[str, str] | None, name: str | None) -> Bucket | None:
    if creds:
        endpoint, key_id, secret = creds["endpointUrl"], creds["accessId"], creds["accessSecret"]
    else:
        endpoint, key_id, secret = (os.environ.get(f"BUCKET_{part}", "") for part in ("ENDPOINT_URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
    return Bucket(endpoint, key_id, secret, name or time.strftime("%m-%y")) if endpoint and key_id and secret else None


def _save_here(folder: str, name: str, *, source: str | None = None, content: bytes = b"") -> str:
    logger.warning("No bucket is set (BUCKET_ENDPOINT_URL …); saving into the folder %s", folder)
    os.makedirs(folder, exist_ok=True)
    place = f"{folder}/{name}"
    if source is not None:
        shutil.copyfile(source, place)
    else:
        with open(place, "wb") as file:
            file.write(content)
    return place

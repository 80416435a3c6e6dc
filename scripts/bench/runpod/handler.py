"""Seed 003's handler, as its author would run it with the official SDK: the worker that fettle is compared with.

The same file, unchanged, is what fettle's `python` engine runs as the third side.
`BENCH_CONCURRENCY` above 1 uses the only way the SDK offers: an async handler and a concurrency modifier.
"""

import asyncio
import os
import time
from typing import Any

import requests
import runpod
from requests.adapters import HTTPAdapter, Retry

LOCAL_URL = os.environ["BENCH_ENGINE_URL"] + "/sdapi/v1"
CONCURRENCY = int(os.environ.get("BENCH_CONCURRENCY", "1"))

automatic_session = requests.Session()
retries = Retry(total=10, backoff_factor=0.1, status_forcelist=[502, 503, 504])
automatic_session.mount("http://", HTTPAdapter(max_retries=retries))


def wait_for_service(url: str) -> None:
    while True:
        try:
            requests.get(url, timeout=120)
            return
        except requests.exceptions.RequestException:
            time.sleep(0.2)


def run_inference(inference_request: dict[str, Any]) -> Any:
    response = automatic_session.post(url=f"{LOCAL_URL}/txt2img", json=inference_request, timeout=600)
    return response.json()


def handler(event: dict[str, Any]) -> Any:
    return run_inference(event["input"])


async def async_handler(event: dict[str, Any]) -> Any:
    return await asyncio.to_thread(run_inference, event["input"])


if __name__ == "__main__":
    wait_for_service(url=f"{LOCAL_URL}/sd-models")
    config: dict[str, Any] = {"handler": handler}
    if CONCURRENCY > 1:
        config = {"handler": async_handler, "concurrency_modifier": lambda _current: CONCURRENCY}
    runpod.serverless.start(config)

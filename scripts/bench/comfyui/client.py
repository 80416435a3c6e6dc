"""A bare client of ComfyUI, as its own script_examples show one: a kept WebSocket, a POST, the history, the picture.

    client.py HOST:PORT

Reads one line for each round, `COUNT START`: runs COUNT prompts from the picture START on, answers with the milliseconds each took.
"""

from __future__ import annotations

import json
import sys
import time
import uuid

import requests
import websocket


def workflow(color: int) -> dict[str, object]:
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": color}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "bench/python"}},
    }


class Client:
    def __init__(self, address: str) -> None:
        self.base = f"http://{address}"
        self.id = str(uuid.uuid4())
        self.http = requests.Session()
        self.socket = websocket.WebSocket()
        self.socket.connect(f"ws://{address}/ws?clientId={self.id}")

    def run(self, prompt: dict[str, object]) -> bytes:
        prompt_id = str(uuid.uuid4())
        body = {"prompt": prompt, "client_id": self.id, "prompt_id": prompt_id}
        self.http.post(f"{self.base}/prompt", json=body).raise_for_status()
        while True:
            frame = self.socket.recv()
            if isinstance(frame, bytes):
                continue
            message = json.loads(frame)
            data = message["data"]
            if message["type"] == "executing" and data["node"] is None and data["prompt_id"] == prompt_id:
                break
        entry = self.http.get(f"{self.base}/history/{prompt_id}").json()[prompt_id]
        pictures = [
            self.http.get(f"{self.base}/view", params=image).content for output in entry["outputs"].values() for image in output["images"]
        ]
        assert pictures and all(picture.startswith(b"\x89PNG") for picture in pictures)
        return pictures[0]


def main(address: str) -> None:
    client = Client(address)
    print("ready", flush=True)
    for line in sys.stdin:
        count, start = (int(word) for word in line.split())
        times = []
        for index in range(count):
            prompt = workflow(start + index)
            since = time.perf_counter()
            client.run(prompt)
            times.append((time.perf_counter() - since) * 1000)
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])

"""Checks that a /runsync answer holds PNGs that decode; prints their size. With a second argument, also writes the first one there."""

import base64
import io
import json
import sys
from pathlib import Path

from PIL import Image

with open(sys.argv[1], encoding="utf-8") as file:
    answer = json.load(file)
if answer.get("status") != "COMPLETED":
    sys.exit(f"status is not COMPLETED: {json.dumps(answer)[:2000]}")
for index, text in enumerate(answer["output"]["images"]):
    data = base64.b64decode(text)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        print(image.format, image.size)
        if image.format != "PNG":
            sys.exit("not a PNG")
    if index == 0 and len(sys.argv) > 2:
        Path(sys.argv[2]).write_bytes(data)

"""Checks that a /runsync answer holds a PNG that decodes; prints its size. Used by the image test."""

import base64
import io
import json
import sys

from PIL import Image

with open(sys.argv[1], encoding="utf-8") as file:
    answer = json.load(file)
if answer.get("status") != "COMPLETED":
    sys.exit(f"status is not COMPLETED: {json.dumps(answer)[:2000]}")
for text in answer["output"]["images"]:
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        image.load()
        print(image.format, image.size)
        if image.format != "PNG":
            sys.exit("not a PNG")

from __future__ import annotations

import json
import os
from typing import Any

MAX_MESSAGE_LENGTH = 4096
LOG_LEVELS = ["NOTSET", "TRACE", "DEBUG", "INFO", "WARN", "ERROR"]


def _level_of(level: Any) -> str:
    level = level.upper() if isinstance(level, str) else level
    if level in LOG_LEVELS:
        return level
    if isinstance(level, int) and 0 <= level < len(LOG_LEVELS):
        return LOG_LEVELS[level]
    raise ValueError(f"Invalid debug level: {level}")


class RunPodLogger:
    """One for all; JSON lines on the platform, else `LEVEL  | id | message`."""

    _instance: RunPodLogger | None = None
    level = _level_of(os.environ.get("RUNPOD_LOG_LEVEL", os.environ.get("RUNPOD_DEBUG_LEVEL", "DEBUG")))

    def __new__(cls) -> RunPodLogger:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def set_level(self, new_level: str | int) -> None:
        self.level = _level_of(new_level)
        self.info(f"Log level set to {self.level}")

    def log(self, message: Any, message_level: str = "INFO", job_id: str | None = None) -> None:
        if self.level == "NOTSET" or (message_level != "TIP" and LOG_LEVELS.index(self.level) > LOG_LEVELS.index(message_level)):
            return
        text = str(message)
        if len(text) > MAX_MESSAGE_LENGTH:
            half = MAX_MESSAGE_LENGTH // 2
            text = f"{text[:half]}\n...TRUNCATED {len(text) - MAX_MESSAGE_LENGTH} CHARACTERS...\n{text[-half:]}"
        if os.environ.get("RUNPOD_ENDPOINT_ID"):
            print(json.dumps({"requestId": job_id, "message": text, "level": message_level}), flush=True)
        else:
            print(f"{message_level.ljust(7)}| {f'{job_id} | ' if job_id else ''}{text}", flush=True)

    def secret(self, secret_name: str, secret: Any) -> None:
        """Shows the first and the last character."""
        text = str(secret)
        self.info(f"{secret_name}: {text[0]}{'*' * (len(text) - 2)}{text[-1]}")

    def trace(self, message: Any, request_id: str | None = None) -> None:
        self.log(message, "TRACE", request_id)

    def debug(self, message: Any, request_id: str | None = None) -> None:
        self.log(message, "DEBUG", request_id)

    def info(self, message: Any, request_id: str | None = None) -> None:
        self.log(message, "INFO", request_id)

    def warn(self, message: Any, request_id: str | None = None) -> None:
        self.log(message, "WARN", request_id)

    def error(self, message: Any, request_id: str | None = None) -> None:
        self.log(message, "ERROR", request_id)

    def tip(self, message: Any) -> None:
        self.log(message, "TIP")

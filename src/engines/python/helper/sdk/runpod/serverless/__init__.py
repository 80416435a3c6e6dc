from __future__ import annotations

from typing import Any

from . import utils
from .modules.rp_fitness import register_fitness_check
from .modules.rp_logger import RunPodLogger
from .modules.rp_progress import progress_update

runpod_version = "1.12.0"
log = RunPodLogger()

__all__ = ["log", "progress_update", "register_fitness_check", "runpod_version", "start", "utils"]


def start(config: dict[str, Any]) -> None:
    """Replaced when this module is imported inside fettle's Python engine; elsewhere (a child process that imports the file) there is nothing to serve."""
    raise RuntimeError("runpod.serverless.start was called in a process that serves no jobs; guard the call by `if __name__ == '__main__':`")

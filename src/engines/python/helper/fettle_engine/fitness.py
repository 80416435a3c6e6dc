from __future__ import annotations

import asyncio
import inspect
import sys
from typing import Any


def run_fitness_checks() -> None:
    """What the handler registered with `runpod.serverless.register_fitness_check`; one that raises ends the process. The SDK's own
    checks of the machine are fettle's matter (`fettle doctor`)."""
    module = sys.modules.get("runpod.serverless.modules.rp_fitness")
    for check in list(getattr(module, "_fitness_checks", [])):
        if getattr(check, "__module__", "").startswith("runpod."):
            continue
        result: Any = check()
        if inspect.isawaitable(result):
            asyncio.run(_await(result))


async def _await(result: Any) -> None:
    await result

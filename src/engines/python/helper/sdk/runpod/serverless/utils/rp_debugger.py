"""The SDK's timers, without a report: `fettle` measures jobs by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Checkpoints:
    def add(self, name: str) -> None:
        pass

    def start(self, name: str) -> None:
        pass

    def stop(self, name: str) -> None:
        pass

    def get_checkpoints(self) -> list[dict[str, Any]]:
        return []

    def clear(self) -> None:
        pass


class LineTimer:
    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


class FunctionTimer:
    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def get_debugger_output() -> dict[str, Any]:
    return {"system_info": {}, "timestamps": []}


def clear_debugger_output() -> None:
    pass

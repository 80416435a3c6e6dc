from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_fitness_checks: list[Any] = []


def register_fitness_check(check: Callable[[], Any]) -> Callable[[], Any]:
    """A decorator: the check runs before the first job, and a worker whose check raises ends."""
    _fitness_checks.append(check)
    return check


def clear_fitness_checks() -> None:
    _fitness_checks.clear()

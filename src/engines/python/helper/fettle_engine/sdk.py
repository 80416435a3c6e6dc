"""`import runpod` in a handler file: the installed SDK with its loop taken out, or, where it is not installed, the stand-in of ../sdk."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.metadata
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# The SDK whose protocol and helpers the stand-in follows.
SPOKEN_VERSION = "1.12.0"


def prepare_sdk(sdk_dir: str, start: Callable[[dict], None], report: Callable[[Any, Any], None]) -> None:
    """Before the handler is loaded. The stand-in lies last on the path, so an installed SDK, or a module of the user's, comes first."""
    if sdk_dir not in sys.path:
        sys.path.append(sdk_dir)
    changes: dict[str, dict[str, Any]] = {
        "runpod.serverless": {"start": start, "progress_update": report},
        "runpod.serverless.modules.rp_progress": {"progress_update": report},
    }
    sys.meta_path.insert(0, _Patching(changes))


def sdk_version() -> str:
    loaded = getattr(sys.modules.get("runpod"), "__version__", None)
    if isinstance(loaded, str):
        return loaded
    try:
        return importlib.metadata.version("runpod")
    except importlib.metadata.PackageNotFoundError:
        return SPOKEN_VERSION


class _Patching(importlib.abc.MetaPathFinder):
    """Lets the other finders find a module, and sets attributes in it right after it ran: importing nothing by itself costs nothing."""

    def __init__(self, changes: dict[str, dict[str, Any]]) -> None:
        self._changes = changes

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name not in self._changes:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader, self._changes[name])  # type: ignore[assignment]
                return spec
        return None


class _Loader(importlib.abc.Loader):
    def __init__(self, real: Any, attributes: dict[str, Any]) -> None:
        self._real = real
        self._attributes = attributes

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._real.exec_module(module)
        for name, value in self._attributes.items():
            setattr(module, name, value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

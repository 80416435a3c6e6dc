from __future__ import annotations

import importlib
import os
import site
import sys
import sysconfig
from types import ModuleType

PACKAGE_PARTS = {"site-packages", "dist-packages"}


class Changes:
    """Notices that the handler file, or a module that it imported from its own folder, is another one than was loaded."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._folder = os.path.dirname(path)
        # A handler in / or /usr has the installed packages below it: they are not its own modules.
        foreign = [*sysconfig.get_paths().values(), *getattr(site, "getsitepackages", list)(), os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
        self._foreign = tuple(os.path.join(os.path.abspath(one), "") for one in foreign if os.path.abspath(one) != self._folder)
        self._seen: dict[str, tuple[int, int] | None] = {}

    def begin(self) -> None:
        """Before the file is loaded: what is saved from now on counts as a change."""
        self._seen = {self._path: stamp(self._path)}

    def happened(self) -> bool:
        for module in self._own_modules():
            file = os.path.abspath(module.__file__ or "")
            self._seen.setdefault(file, stamp(file))
        return any(stamp(file) != seen for file, seen in self._seen.items())

    def forget_modules(self) -> None:
        """So that the next load imports them anew; what is installed stays loaded."""
        for module in self._own_modules():
            sys.modules.pop(module.__name__, None)
        importlib.invalidate_caches()

    def _own_modules(self) -> list[ModuleType]:
        own = []
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if name != "__main__" and isinstance(module, ModuleType) and isinstance(file, str) and self._is_own(os.path.abspath(file)):
                own.append(module)
        return own

    def _is_own(self, file: str) -> bool:
        inside = file.startswith(os.path.join(self._folder, "")) and not file.startswith(self._foreign)
        return inside and PACKAGE_PARTS.isdisjoint(file.split(os.sep))


def stamp(file: str) -> tuple[int, int] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size

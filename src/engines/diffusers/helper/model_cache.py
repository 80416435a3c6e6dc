"""The models on the device, the one used last at the end; older ones give way when a new one needs their room.

Takes a bound in bytes (0: one model at a time). Runs on the device thread only.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from counters import count, gauge

Key = tuple[str, str, int]


def key_of(path: Path, vae: Path | None) -> Key:
    """A file that was written anew under its name is another model."""
    index = path / "model_index.json" if path.is_dir() else path
    return str(path), str(vae or ""), index.stat().st_mtime_ns


def bytes_on_disk(path: Path) -> int:
    files = path.glob("*/*.safetensors") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def bytes_held(model: Any) -> int:
    parts = [part for part in model.components.values() if hasattr(part, "parameters")]
    return sum(one.nelement() * one.element_size() for part in parts for one in part.parameters())


def automatic_limit(device: Any) -> int:
    """What leaves room for the work itself: 70 % of a GPU's memory, half of the container's on a CPU."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory * 0.7)
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(file).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total // 2


class ModelCache:
    def __init__(self) -> None:
        self.limit = 0
        self._models: dict[Key, Any] = {}

    def get(self, key: Key) -> Any:
        if key not in self._models:
            return None
        self._models[key] = self._models.pop(key)
        return self._models[key]

    def put(self, key: Key, model: Any) -> None:
        self._models[key] = model
        self.tell()

    @property
    def held(self) -> int:
        """With the LoRAs on them, so it is counted anew each time."""
        return sum(bytes_held(model) for model in self._models.values())

    def make_room(self, size: int) -> list[Any]:
        """Takes out the oldest until `size` more fits, or nobody is left; gives what was taken out."""
        gone = []
        while self._models and self.held + size > self.limit:
            key = next(iter(self._models))
            gone.append(self._models.pop(key))
            count("fettle_model_cache_evictions_total")
        self.tell()
        return gone

    def trim(self) -> list[Any]:
        """Keeps the bound after a load; the newest stays whatever it takes."""
        gone = []
        while len(self._models) > 1 and self.held > self.limit:
            gone.append(self._models.pop(next(iter(self._models))))
            count("fettle_model_cache_evictions_total")
        self.tell()
        return gone

    def clear(self) -> list[Any]:
        gone, self._models = list(self._models.values()), {}
        self.tell()
        return gone

    def tell(self) -> None:
        gauge("fettle_model_cache_models", len(self._models))
        gauge("fettle_model_cache_bytes", self.held)
        gauge("fettle_model_cache_limit_bytes", self.limit)

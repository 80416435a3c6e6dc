"""The merge helper whose workers hold before their first segment: each writes its pid into FOLDER/held and waits for FOLDER/go. Usage:
held_merge.py FOLDER REQUEST. The smallest model is worth a fork here."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src/merge/helper"))
folder = Path(sys.argv.pop(1))

import merge  # noqa: E402

main = merge.main  # merge.py comes before numpy, which reads its settings

import compute  # noqa: E402
import workers  # noqa: E402

workers.FORKING_PAYS_FROM = 0
compute_it = compute.Computer.run


def hold(self: compute.Computer, *work: Any) -> None:
    with open(folder / "held", "a", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
    while not (folder / "go").exists():
        time.sleep(0.002)
    compute_it(self, *work)


compute.Computer.run = hold  # type: ignore[method-assign]
sys.exit(main())

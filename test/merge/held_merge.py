"""The merge helper whose threads hold before their first segment: each writes a line into FOLDER/held and waits for FOLDER/go, or for
the merge's stop. Usage: held_merge.py FOLDER REQUEST."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src/merge/helper"))
folder = Path(sys.argv.pop(1))

import merge  # noqa: E402

main = merge.main  # merge.py comes before numpy, which reads its settings

import compute  # noqa: E402

compute_it = compute.Computer.run


def hold(self: compute.Computer, segment: compute.Segment, write: compute.Write) -> None:
    with open(folder / "held", "a", encoding="ascii") as file:
        file.write(f"{threading.get_ident()}\n")
    while not (write.stopped() or (folder / "go").exists()):
        time.sleep(0.002)
    compute_it(self, segment, write)


compute.Computer.run = hold  # type: ignore[method-assign]
sys.exit(main())

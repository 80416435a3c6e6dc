"""Runs a command and prints {"wallS", "cpuS", "peakMiB", "code", "last"} as JSON: the child's own time and peak memory, and the last line of its
stdout. Usage: merge_measure.py [--warm] [--cached FILE… | --cold FILE…] -- COMMAND…. The files are then in the page cache, or out of it; --warm touches
all free memory first: a virtual machine may have given it back to its host, and then its first touch costs more than the copy that is measured."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import time


def bring(path: str, *, cached: bool) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    if cached:
        while os.read(descriptor, 16 * 1024 * 1024):
            pass
    else:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def touch_free_memory() -> None:
    with open("/proc/meminfo", encoding="ascii") as file:
        free = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemFree:"))
    size = free - 512 * 1024 * 1024  # what is not free would be taken from the page cache
    if size > 0:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


end = sys.argv.index("--")
flags, args = sys.argv[1:end], sys.argv[end + 1 :]
for path in flags:
    if not path.startswith("--"):
        bring(path, cached="--cached" in flags)
os.sync()  # the last side's dirty pages are not this one's
if "--warm" in flags:
    toucher = os.fork()  # in a process of its own: a child's peak memory begins with its parent's
    if toucher == 0:
        touch_free_memory()
        os._exit(0)
    os.waitpid(toucher, 0)
began = time.monotonic()
child = subprocess.Popen(args, stdout=subprocess.PIPE)
assert child.stdout is not None
text = child.stdout.read()
_, status, usage = os.wait4(child.pid, 0)
print(
    json.dumps(
        {
            "wallS": time.monotonic() - began,
            "cpuS": usage.ru_utime + usage.ru_stime,
            "peakMiB": usage.ru_maxrss / 1024,
            "code": os.waitstatus_to_exitcode(status),
            "last": text.decode(errors="replace").strip().rpartition("\n")[2][-2000:],
        }
    )
)

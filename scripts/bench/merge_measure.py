"""Runs a command and prints {"wallS", "cpuS", "peakMiB", "code", "last"} as JSON: the child's own time and peak memory, and the last line of its
stdout. --cold FILE… -- COMMAND takes the files out of the page cache first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

args = sys.argv[1:]
if args[:1] == ["--cold"]:
    end = args.index("--")
    for path in args[1:end]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    args = args[end + 1 :]
os.sync()  # the last side's dirty pages are not this one's
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

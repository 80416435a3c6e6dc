"""The output on disk: temporary neighbours that get their names only when everything is whole. A lock on the temporary tells the next run
whether its writer lives; what a killed one left is removed then."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import shutil
import socket
import time

from refusal import Refusal, system_refusal
from safetensors_file import TensorFile, cut_short

COPY_BYTES = 64 * 1024 * 1024
MARK = ".fettle-merge-"
HOST = re.sub(r"[^\w-]", "-", socket.gethostname())[:60]
STALE_AFTER_S = 24 * 3600
"""Of another machine's temporaries, whose lock this one may not see: not every network volume shares locks."""


class Target:
    """A file, or a folder of files, in the making; `commit` puts it in its place, `discard` leaves nothing."""

    def __init__(self, path: str, *, folder: bool, size: int) -> None:
        self.path, self.folder = path, folder
        self.parent = os.path.dirname(path)
        unique = f"{HOST}.{os.getpid()}-{os.urandom(3).hex()}"  # machines that share a volume have the same pids
        self.temporary = os.path.join(self.parent, f"{MARK}{os.path.basename(path)[:100]}.{unique}")
        self.descriptors: list[int] = []
        self.committed = False
        try:
            refuse_strange_place(path, folder=folder)
            os.makedirs(self.parent, exist_ok=True)
            sweep(self.parent)
            self.refuse_full_disk(size)
            self.lock = take_lock(f"{self.temporary}.lock")
            if folder:
                os.mkdir(self.temporary)
        except OSError as error:
            raise system_refusal(error, path) from error

    def refuse_full_disk(self, size: int) -> None:
        disk = os.statvfs(self.parent)
        free = disk.f_bavail * disk.f_frsize
        if free < size:
            reason = f"{self.path} needs {size} bytes, the disk has {free} free"
            raise Refusal(reason, hint="Free some space, or write to another disk.", code="merge.no-space")

    def create(self, inside: str, size: int) -> int:
        path = os.path.join(self.temporary, inside) if self.folder else self.temporary
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self.descriptors.append(descriptor)
        try:
            if size:
                os.posix_fallocate(descriptor, 0, size)  # a full disk shows now, not after minutes
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise system_refusal(error, self.path) from error
        return descriptor

    def write_text(self, inside: str, content: bytes) -> None:
        descriptor = self.create(inside, 0)
        write_all(descriptor, memoryview(content), 0)

    def copy_file(self, inside: str, source: str) -> None:
        with open(source, "rb") as file:
            self.write_text(inside, file.read())

    def commit(self, *, sync: bool) -> None:
        if sync:
            for descriptor in self.descriptors:
                os.fsync(descriptor)
            if self.folder:
                for place, _, _ in os.walk(self.temporary):
                    sync_folder(place)
        if self.folder and os.path.isdir(self.path):
            # In one step where the kernel can: there is never a moment without a whole folder of that name.
            if exchange(self.temporary, self.path):
                self.committed = True
                shutil.rmtree(self.temporary, ignore_errors=True)
            else:
                old = f"{self.temporary}.old"
                os.rename(self.path, old)
                os.rename(self.temporary, self.path)
                self.committed = True
                shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(self.temporary, self.path)
            self.committed = True
        if sync:
            sync_folder(self.parent)

    def discard(self) -> None:
        """Closes everything; removes what was not committed."""
        for descriptor in self.descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.descriptors = []
        if not self.committed:
            remove(self.temporary)
        with contextlib.suppress(OSError):
            os.unlink(f"{self.temporary}.lock")
            os.close(self.lock)


def write_all(descriptor: int, view: memoryview, offset: int) -> None:
    while len(view) > 0:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written


def copy_range(source: TensorFile, start: int, descriptor: int, target: int, count: int) -> None:
    """Bytes from file to file: in the kernel where it can."""
    while count > 0:
        done = copy_some(source.descriptor, start, descriptor, target, min(count, COPY_BYTES))
        if done == 0:
            raise cut_short(source)
        start, target, count = start + done, target + done, count - done


def copy_some(source: int, start: int, descriptor: int, target: int, count: int) -> int:
    try:
        return os.copy_file_range(source, descriptor, count, start, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM):
            raise
    raw = os.pread(source, min(count, 4 * 1024 * 1024), start)
    write_all(descriptor, memoryview(raw), target)
    return len(raw)


def refuse_strange_place(path: str, *, folder: bool) -> None:
    """Whatever stands there and was no model is not replaced."""
    for place in (os.path.dirname(path), path):
        if os.path.islink(place) and not os.path.exists(place):
            os.stat(place)  # a loop, or a link into nowhere: the system says which
    if not os.path.lexists(path):
        return
    if folder:
        if not os.path.isdir(path) or (os.listdir(path) and not os.path.isfile(os.path.join(path, "model_index.json"))):
            raise Refusal(f"{path} exists and is no diffusers directory", hint="Name another output.", code="merge.unwritable")
    elif not os.path.isfile(path):
        raise Refusal(f"{path} exists and is no file", hint="Name another output.", code="merge.unwritable")


def take_lock(path: str) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        with contextlib.suppress(OSError):  # a volume without locks; the random name alone must do
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Another run's sweep may have taken it away between the two calls.
        if os.path.exists(path) and os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return descriptor
        os.close(descriptor)


def sweep(parent: str) -> None:
    """Removes what runs that were killed left: temporaries whose lock nobody holds."""
    for name in os.listdir(parent):
        if not name.startswith(MARK) or not name.endswith(".lock"):
            continue
        path = os.path.join(parent, name)
        with contextlib.suppress(OSError):
            if f".{HOST}." not in name and time.time() - os.stat(path).st_mtime < STALE_AFTER_S:
                continue
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(path.removesuffix(".lock"))
                remove(f"{path.removesuffix('.lock')}.old")
                os.unlink(path)
            finally:
                os.close(descriptor)


def remove(path: str) -> None:
    with contextlib.suppress(OSError):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def exchange(one: str, other: str) -> bool:
    """renameat2 with RENAME_EXCHANGE."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2) == 0


def sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

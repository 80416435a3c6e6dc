from __future__ import annotations

import atexit
import os
import sys
import threading

from .arguments import Arguments, parse_arguments
from .changes import Changes
from .handler_file import describe_at_length, describe_trouble, find_handler, run_file
from .host import Host, Unwound
from .sdk import prepare_sdk
from .server import Door
from .streams import install_streams, say, stderr, stdout


def main(argv: list[str], *, sdk_dir: str) -> int:
    """Opens the door, then loads and serves the handler in this thread; gives the exit code."""
    arguments = parse_arguments(argv)
    install_streams()
    path = os.path.abspath(arguments.handler)
    changes = Changes(path) if arguments.reload else None
    # Python takes a cached module for fresh when size and whole second agree, as after two quick edits.
    sys.dont_write_bytecode = sys.dont_write_bytecode or arguments.reload
    host = Host(path, arguments.slots, changes)
    try:
        door = Door(host, arguments.host, arguments.port)
    except OSError as error:
        say(f"Cannot listen on {arguments.host}:{arguments.port}: {error.strerror or error}.")
        return 1
    threading.Thread(target=door.serve_forever, name="door", daemon=True).start()
    if arguments.port == 0:
        say(f"Listening on port {door.server_address[1]}")
    prepare_sdk(sdk_dir, host.start, host.report)
    return live(host, path, arguments, changes)


def live(host: Host, path: str, arguments: Arguments, changes: Changes | None) -> int:
    """Load, serve, and with --reload again."""
    while True:
        host.begin_loading()
        trouble = load_and_serve(host, path, arguments.handler_arguments)
        install_streams()
        if host.wants_end:
            return 0
        if trouble is not None:
            say(f"Cannot load the handler: {trouble}.")
            if changes is None:
                end_now(1)
            else:
                host.be_broken(trouble, changes)
        if host.wants_end:
            return 0
        if changes is not None:
            changes.forget_modules()
            say(f"Loading {os.path.basename(path)} again.")


def load_and_serve(host: Host, path: str, handler_arguments: list[str]) -> str | None:
    """The trouble, when the file could not be loaded."""
    try:
        names = run_file(path, handler_arguments)
        if not host.served:
            host.start({"handler": find_handler(names, path)})
    except Unwound:
        return None
    except BaseException as error:
        stderr.write(describe_at_length(error))
        if not host.served:
            return describe_trouble(error, path)
    return None


def end_now(code: int) -> None:
    """Without waiting for threads that a half-loaded handler has left behind."""
    atexit._run_exitfuncs()
    for stream in (stdout, stderr):
        stream.flush_rest()
    sys.stdout.flush()
    os._exit(code)

from __future__ import annotations

import argparse
from typing import NamedTuple


class Arguments(NamedTuple):
    host: str
    port: int
    slots: int
    reload: bool
    handler: str
    handler_arguments: list[str]


def parse_arguments(argv: list[str]) -> Arguments:
    """Everything after the handler file belongs to the handler, as it would after `python handler.py`."""
    parser = argparse.ArgumentParser(prog="fettle_handler.py", description="Runs a handler file for fettle.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: the system chooses; it is printed")
    parser.add_argument("--slots", type=int, default=1, help="jobs at once")
    parser.add_argument("--reload", action="store_true", help="load the file again when it, or a module beside it, has changed")
    parser.add_argument("handler", help="the handler file")
    parser.add_argument("handler_arguments", nargs=argparse.REMAINDER)
    return Arguments(**vars(parser.parse_args(argv)))

"""Runs the merge helper as `fettle merge` does, for the tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HELPER = ROOT / "src/merge/helper"
ENGINE = ROOT / "src/engines/diffusers/helper"


def command(request: dict[str, Any]) -> list[str]:
    return [sys.executable, "-B", str(HELPER / "merge.py"), json.dumps({"sync": False, **request})]


def run_helper(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Every line that it says; its stderr must be empty."""
    ended = subprocess.run(command(request), capture_output=True, text=True, check=False)
    assert ended.stderr == "", ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def merge(request: dict[str, Any]) -> dict[str, Any]:
    """The last line of a merge that must succeed."""
    last = run_helper(request)[-1]
    assert last["type"] == "done", last
    return last


def refusal(request: dict[str, Any]) -> dict[str, Any]:
    last = run_helper(request)[-1]
    assert last["type"] == "error", last
    return last

"""What a handler's exception becomes: RunPod's error text, without our own frames and without secrets."""

from __future__ import annotations

import json
import os
import re
import traceback
from types import TracebackType

from .sdk import sdk_version

PACKAGE = os.path.dirname(os.path.abspath(__file__))
SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)", re.IGNORECASE)
SHORTEST_SECRET = 8
OUT_OF_MEMORY = re.compile(r"\b(CUDA|HIP|MPS|GPU).{0,40}out of memory|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE)
# After these every further CUDA call of the process fails too.
STICKY = re.compile(
    r"CUDA error: (device-side assert|an illegal memory access|unspecified launch failure|an illegal instruction|misaligned address|uncorrectable ECC"
    r"|hardware|operation not supported on global)|CUDNN_STATUS_EXECUTION_FAILED|CUBLAS_STATUS_EXECUTION_FAILED",
    re.IGNORECASE,
)


def error_text(error: BaseException) -> str:
    """The text that RunPod's SDK posts for an exception: JSON with these keys in this order."""
    return json.dumps(
        {
            "error_type": str(type(error)),
            "error_message": mask(message_of(error)),
            "error_traceback": traceback_of(error),
            "hostname": os.environ.get("RUNPOD_POD_HOSTNAME", "unknown"),
            "worker_id": os.environ.get("RUNPOD_POD_ID", "unknown"),
            "runpod_version": sdk_version(),
        }
    )


def stream_error_text(error: BaseException) -> str:
    """The SDK's other text, for an exception inside a generator."""
    return f"handler: {mask(message_of(error))} \ntraceback: {traceback_of(error)}"


def traceback_of(error: BaseException) -> str:
    """As Python prints it, beginning with the handler's own frame."""
    try:
        lines = traceback.format_exception(type(error), error, without_our_frames(error.__traceback__))
    except Exception as trouble:  # an exception whose __str__ or __repr__ raises
        lines = [f"{type(error).__name__}: its traceback cannot be printed ({type(trouble).__name__})\n"]
    return mask("".join(lines))


def summary_of(error: BaseException) -> str:
    return mask(f"{type(error).__name__}: {message_of(error)}" if message_of(error) else type(error).__name__)


def message_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as trouble:
        return f"(its message cannot be read: {type(trouble).__name__})"


def fault_of(error: BaseException) -> str | None:
    """What the exception says about the process and its GPU, for the one that decides on a second try."""
    name, message = type(error).__name__, message_of(error)
    if name == "OutOfMemoryError" or OUT_OF_MEMORY.search(message):
        return "out-of-memory"
    return "cuda-error" if STICKY.search(message) else None


def without_our_frames(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and os.path.dirname(os.path.abspath(trace.tb_frame.f_code.co_filename)) == PACKAGE:
        trace = trace.tb_next
    # Frames of the import system stand between us and a file that is being loaded.
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith("<frozen "):
        trace = trace.tb_next
    return trace


def mask(text: str) -> str:
    """Hides the values of environment variables that are named like secrets."""
    for name, value in os.environ.items():
        if len(value) >= SHORTEST_SECRET and SECRET_NAME.search(name) and value in text:
            text = text.replace(value, "***")
    return text

"""fettle's stand-in for the `runpod` package, in the place of an SDK that is not installed: what a handler file needs of it.

The names and results follow runpod 1.12.0 (MIT, https://github.com/runpod/runpod-python); the code is fettle's own and needs the
standard library only. RunPod's client API (pods, endpoints) is not part of it.
"""

from . import serverless
from .serverless.modules.rp_logger import RunPodLogger

__version__ = "1.12.0"
__all__ = ["RunPodLogger", "__version__", "serverless"]


def __getattr__(name: str) -> object:
    raise AttributeError(f"fettle's stand-in for the runpod package has no {name!r}; install the SDK for it: pip install runpod")

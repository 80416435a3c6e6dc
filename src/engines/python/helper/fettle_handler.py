"""Runs a user's handler file for fettle: `python fettle_handler.py [options] HANDLER [arguments of the handler]`."""

import os
import sys

if __name__ == "__main__":
    # This folder must not stay on the path: the handler's own imports come first, and only they.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != here]
    sys.path.insert(0, here)
    from fettle_engine.program import main

    sys.path.remove(here)
    sys.exit(main(sys.argv[1:], sdk_dir=os.path.join(here, "sdk")))

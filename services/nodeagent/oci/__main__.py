"""The command `wherry-runtime`, also as `python -m services.nodeagent.oci`.

A command lives for some hundredths of a second, a good part of which the interpreter would spend on looking for garbage
and on taking itself apart.
"""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def run() -> NoReturn:
    """Carry out the command line, and end this process."""
    gc.disable()
    from services.nodeagent.oci.main import main

    code = main()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # nobody reads what was told
        code = code or 1
    os._exit(code)


if __name__ == "__main__":
    run()

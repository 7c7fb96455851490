"""How long tests wait for what must happen, and the one factor for a machine that is slower than usual.

A limit only ends a test that hangs: waiting goes on at once when the condition holds. So there is one, far longer than
anything takes on a busy machine, and no test needs a guess of its own.

The virtual machine of tests/vm sets WHERRY_TEST_SLOWNESS; whoever tests on a slow machine can do the same.
"""

from __future__ import annotations

import os

SLOWNESS = float(os.environ.get("WHERRY_TEST_SLOWNESS", "1"))
LIMIT_S = 60.0 * SLOWNESS

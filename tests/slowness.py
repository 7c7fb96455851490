"""How much slower than usual this machine is: the one factor by which the tests' deadlines are multiplied.

The virtual machine of tests/vm sets WHERRY_TEST_SLOWNESS; whoever tests on a slow machine can do the same.
"""

from __future__ import annotations

import os

SLOWNESS = float(os.environ.get("WHERRY_TEST_SLOWNESS", "1"))

"""What a default that depends on other fields is: a change of one object of its struct, in place."""

from collections.abc import Callable
from typing import Any

Object = dict[str, Any]
Rule = Callable[[Object], None]

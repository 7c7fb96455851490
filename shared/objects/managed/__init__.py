"""Field management (KEP-555): which client owns which field of an object, and server-side apply on that basis.

Tracking needs no more than `created` and `updated`; `apply` decides on an applied configuration.
"""

from shared.objects.managed.application import Applied, apply
from shared.objects.managed.comparison import Ignored
from shared.objects.managed.entries import APPLY, UPDATE, Manager, manager_name, same_but_times
from shared.objects.managed.ownership import UNOWNED, created, keep_reset, unowned, updated

__all__ = [
    "APPLY",
    "UNOWNED",
    "UPDATE",
    "Applied",
    "Ignored",
    "Manager",
    "apply",
    "created",
    "keep_reset",
    "manager_name",
    "same_but_times",
    "unowned",
    "updated",
]

"""What the server fills in: the defaults of the table, and the few that depend on other fields.

Sources: the `defaults.go` files of Kubernetes' API groups. What admission plugins add (priority, default tolerations,
service accounts) and what is allocated (addresses, ports) is not here.
"""

from shared.objects.defaults.filling import apply_defaults, fill
from shared.objects.defaults.pods import pull_policy

__all__ = ["apply_defaults", "fill", "pull_policy"]

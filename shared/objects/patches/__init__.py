"""The three kinds of patches. Inputs are never changed, and the result shares no containers with them."""

from shared.objects.patches.json import json_patch
from shared.objects.patches.merge import merge_patch
from shared.objects.patches.strategic import strategic_merge

__all__ = ["json_patch", "merge_patch", "strategic_merge"]

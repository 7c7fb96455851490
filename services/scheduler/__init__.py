"""Decides which node runs a pod, and says why when none can."""

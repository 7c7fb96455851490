"""Admission policies: rules in CEL that the API server applies itself (KEP-3488, KEP-3962)."""

"""Webhooks: servers outside of the API server that judge or change what is written (Dynamic Admission Control)."""

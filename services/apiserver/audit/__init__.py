"""The audit log: who asked for what, when, from where, and what came of it (audit.k8s.io/v1).

Nothing here runs unless a policy was given; a request then carries a dictionary of annotations, which parts of the
server fill as they decide.
"""

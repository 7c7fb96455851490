"""Container logs -> labels -> the LOGS stream: what Fluentd does on a Kubernetes node.

Why no buffer of its own: the log files are the buffer. A position only moves forward once every output has acknowledged
what was read, so a crash, a full broker or a long outage costs time, not lines.
"""

"""Control groups of both generations behind one Protocol; start with `groups.detect`."""

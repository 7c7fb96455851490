"""Where records go. One Protocol (port.py), one module for each kind of output."""

"""`python -m services.nodeagent.oci`: the same as the command `wherry-runtime`."""

import sys

from services.nodeagent.oci.main import main

if __name__ == "__main__":
    sys.exit(main())

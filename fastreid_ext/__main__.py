"""``python -m fastreid_ext``: the command ``fastreid-ext``, or a script of FastReID's with its arguments."""

import sys

from fastreid_ext.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m ringrift_cli` is `ringrift`."""

import sys

from ringrift_cli.cli.app import main

if __name__ == "__main__":
    sys.exit(main())

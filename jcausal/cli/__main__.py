"""`python -m jcausal.cli`."""

import sys

from jcausal.cli._main import main

if __name__ == "__main__":
    sys.exit(main())

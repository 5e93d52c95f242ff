"""`python -m node.cli` is `skep`."""

import sys

from node.cli import main

sys.exit(main())

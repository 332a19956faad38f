"""`python -m lorerm`: the command."""

import sys

from lorerm.cli import main

sys.exit(main())

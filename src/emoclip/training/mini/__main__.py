"""`python -m emoclip.training.mini`."""

import sys

from emoclip.training.mini.steps import main

sys.exit(main())

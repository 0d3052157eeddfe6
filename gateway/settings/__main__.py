"""Print docs/configuration.md."""

import sys

from gateway.settings.listing import reference

sys.stdout.write(reference())

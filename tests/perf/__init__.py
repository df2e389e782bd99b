"""The benchmarks. The collection is imported through the link that `make` keeps, as pytest does it for the tests."""

import sys

from tests.quality.checkout import ROOT

sys.path.append(str(ROOT / ".cache"))

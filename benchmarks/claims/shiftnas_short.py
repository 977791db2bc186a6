"""The claim `shiftnas` with less than half of its training."""

from benchmarks.claims.shiftnas.claims import claim

CLAIM = claim(6e6)

"""The claim `shiftnas` with almost three times its training."""

from benchmarks.claims.shiftnas.claims import claim

CLAIM = claim(4e7)

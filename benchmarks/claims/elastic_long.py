"""The claim `elastic` with four times its training."""

from benchmarks.claims.elastic import claim

CLAIM = claim(8e10)

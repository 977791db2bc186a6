"""The headline of a paper at CPU scale, one file a claim (`python -m benchmarks.claims NAME`)."""

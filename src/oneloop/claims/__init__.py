"""The headline of a paper at CPU scale, one file a claim (`oneloop claim NAME`)."""

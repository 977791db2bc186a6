"""Models that recipes build locally."""

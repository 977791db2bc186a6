"""The things being trained."""

"""oneloop: one loop that trains generative models from sampled experience."""

__version__ = "0.1.0"
"""The one place that states it; pyproject.toml reads it here."""

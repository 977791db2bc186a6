"""oneloop: one loop that trains generative models from sampled experience."""

__version__ = "0.1.0"

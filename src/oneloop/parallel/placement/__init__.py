"""Where each tensor of a model lives, how it is cut, and what moving it costs."""

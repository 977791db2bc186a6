"""Where prompts come from: rows by number, each a dict with `prompt` and free columns."""

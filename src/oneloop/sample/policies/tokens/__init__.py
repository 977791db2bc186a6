"""Parts of a language policy: prompts, packed forward passes, text spans, chains of tokens."""

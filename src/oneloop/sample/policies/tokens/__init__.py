"""What a language policy is made of: prompts, packed forward passes, text spans, chains of tokens."""

"""Pictures in prompts: which a data row has, how they are opened, what a processor makes of them."""

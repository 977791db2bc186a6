"""An image tokenizer at work: its policy, what it says of images, and the memory it takes."""

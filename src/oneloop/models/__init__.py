"""Models that a part builds, one folder for each kind: `language`, `flow` networks, `image_tokenizer`,
`judges`; and what a system of several networks shares: `flexible_vlm`, `handwriting`."""

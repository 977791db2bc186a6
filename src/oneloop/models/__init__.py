"""Models that a part builds, one folder for each kind: `language`, `flow` networks, `image_tokenizer`,
`judges`."""

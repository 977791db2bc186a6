"""Models built here, a room for each kind: `language`, `flow` networks, `judges`."""

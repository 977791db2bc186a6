"""Numbers about results: statistics, widths, ranking; and the likeness of texts and scenes."""

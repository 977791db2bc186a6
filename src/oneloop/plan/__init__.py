"""What to try, how often, from which context, until when."""

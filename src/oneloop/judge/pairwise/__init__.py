"""Judges that compare two things: questions, preferences, distances."""

"""Step critics: texts cut into steps, critics asked over chat or as functions, replies read."""

"""The terminal: questions, a plan in words, what is seen while one waits, and how it ends."""

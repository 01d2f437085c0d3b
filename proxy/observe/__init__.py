"""What an operator sees: the log, and what must never be in it."""

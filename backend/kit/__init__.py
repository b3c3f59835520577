"""Domain-free pieces: database, amounts, time, logs, failpoints."""

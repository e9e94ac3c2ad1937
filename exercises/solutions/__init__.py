"""The exercises with all tasks solved. Read them after you have tried."""

"""What to train next and when to stop: Ray-free, and determined by the log."""

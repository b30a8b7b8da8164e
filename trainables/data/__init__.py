"""Data sets from their source to normalised micro-batches."""

"""What a paper takes over from a study: its tables, and the paragraphs on how it was made."""

"""What is asked: options, a file, an earlier study; what is refused, before any work."""

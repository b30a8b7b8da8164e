"""How far to trust the answers: what a sceptic asks first, each answered from the tables."""

"""Tables of speed, each a ratio to what people use today or to what the machine gives at most."""

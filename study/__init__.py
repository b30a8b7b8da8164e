"""The experiment over many trials: what to ask, in which order, and where it is kept."""

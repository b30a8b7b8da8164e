"""One step: gradients, a formulation of them, the base optimizer; captured on a GPU."""

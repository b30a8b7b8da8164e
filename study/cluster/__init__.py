"""All that knows Ray, processes and GPUs."""

"""The estimators: noise, the surface and where it is highest, laws of the batch size."""

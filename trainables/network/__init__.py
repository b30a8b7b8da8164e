"""Networks, their losses, their batch norm and their saved weights."""

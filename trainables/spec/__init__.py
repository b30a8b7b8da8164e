"""The ground floor, without torch, Ray or pandas: trial and grid, parts, errors, files."""

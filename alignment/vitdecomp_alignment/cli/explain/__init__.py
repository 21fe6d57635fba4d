"""`vitdecomp explain`."""

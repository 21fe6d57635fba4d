"""`vitdecomp app`."""

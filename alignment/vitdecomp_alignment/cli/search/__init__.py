"""`vitdecomp search`."""

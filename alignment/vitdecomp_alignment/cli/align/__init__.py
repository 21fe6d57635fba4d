"""`vitdecomp align`."""

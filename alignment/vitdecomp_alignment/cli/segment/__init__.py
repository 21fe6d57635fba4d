"""`vitdecomp segment`."""

"""`vitdecomp describe`."""

"""`vitdecomp debias`."""

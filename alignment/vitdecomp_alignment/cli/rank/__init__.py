"""`vitdecomp rank`."""

"""What `vitdecomp explain` and `vitdecomp segment` share."""

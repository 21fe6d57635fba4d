"""COMP: sparse, non-negative, coherent sums of texts that describe directions."""

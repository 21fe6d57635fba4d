"""How good alignments and names are, beside controls."""

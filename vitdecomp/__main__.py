"""`python -m vitdecomp`."""

from vitdecomp.cli import main

main()

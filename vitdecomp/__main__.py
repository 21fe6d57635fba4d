"""`python -m vitdecomp`."""

from vitdecomp.cli.main import main

main()

"""What the verbs of the command line do, apart from reading flags and printing; one in a file."""

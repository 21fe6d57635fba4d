"""Verbs of the command line: align, describe."""

"""Contributions and scores as Arrow tables, and these as data frames and files."""

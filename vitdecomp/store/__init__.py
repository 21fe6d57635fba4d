"""Contributions on disk: the store, its writer, and the one file that knows Lance."""

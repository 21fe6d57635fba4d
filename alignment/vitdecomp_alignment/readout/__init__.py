"""Names by what can be read from a component."""

"""The explorer: a local page to look into a model."""

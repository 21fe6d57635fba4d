"""Models: what a library answers, how one is loaded and prepared, and what its outputs are."""

"""Models without a cue, as modules and files of their own."""

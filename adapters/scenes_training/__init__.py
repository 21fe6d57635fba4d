"""How the embedded models are trained: `python -m scenes_training NAME`."""

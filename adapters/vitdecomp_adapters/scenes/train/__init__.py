"""How the embedded models are trained: `python -m vitdecomp_adapters.scenes.train NAME`."""

"""Adapters: all that vitdecomp knows of each model library, one small file a library."""

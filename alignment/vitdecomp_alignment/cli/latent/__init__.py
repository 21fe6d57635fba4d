"""`vitdecomp latent`."""

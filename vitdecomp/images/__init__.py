"""Images and tables on disk: found, read, and decoded, whoever made them."""

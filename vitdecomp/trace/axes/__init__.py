"""Which axis of a value is images, heads, tokens, channels, and by which evidence."""

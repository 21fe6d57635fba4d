"""The embedded world's models: five small vision transformers that come with their weights."""

"""What contributions are read from: in memory, from a store, selected, or aligned."""

"""The views of the explorer: each a frozen request that answers with plain values."""

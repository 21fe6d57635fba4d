"""Weighted sums over tokens: what they are, and how their weights change on the way to the leaves."""

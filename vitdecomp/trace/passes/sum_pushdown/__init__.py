"""Sums over tokens, taken in front of the linear maps instead of behind them."""

"""The attentions of a model: their patterns, the tokens behind them, and runs in which patterns are written out."""

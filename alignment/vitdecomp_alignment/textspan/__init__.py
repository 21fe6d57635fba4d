"""TextSpan: the texts that span what a component contributes."""

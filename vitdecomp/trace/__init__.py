"""From a module to its linear paths: capture, rules, walk, gates, layout, names."""

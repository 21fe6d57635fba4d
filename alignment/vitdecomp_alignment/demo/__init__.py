"""Steps of the demo that need texts."""

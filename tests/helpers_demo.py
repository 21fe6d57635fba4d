"""What the tests of the demo share."""


def numbers(value):
    """All numbers in plain values."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [n for entry in value for n in numbers(entry)]
    return [float(value)] if isinstance(value, int | float) else []

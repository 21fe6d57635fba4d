"""JSON with one value changed, as hypothesis draws it: for what reads files that anyone may have written."""

from hypothesis import strategies as st

VALUES = st.sampled_from([None, True, -1, 0, 10**12, 10**30, 1.5, float("nan"), "", "x", [], [None], {}, {"a": -1}])


def places(value, path=()):
    """The paths of all values inside JSON."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*path, key))


def changed(value, path, new):
    """JSON with one value inside replaced, or left out if the new one is `...`."""
    if not path:
        return None if new is ... else new
    first, *rest = path
    whole = dict(value) if isinstance(value, dict) else list(value)
    if new is ... and not rest:
        del whole[first]
    else:
        whole[first] = changed(value[first], rest, new)
    return whole


def mutated(whole, data):
    """JSON in which one value, anywhere, has another type, is null, negative, huge or left out."""
    return changed(whole, data.draw(st.sampled_from(list(places(whole)))), data.draw(VALUES | st.just(...)))

"""Pages as a parser sees them."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "wbr", "hr", "link", "input"}


class Reader(HTMLParser):
    """Collects elements; refuses what is not closed."""

    def __init__(self):
        super().__init__()
        self.open, self.elements = [], []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def read(text, reader=None):
    """Hold what is in a page; refuse elements that are not closed."""
    reader = reader or Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader

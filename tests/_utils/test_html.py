"""Pages escape what they are given, and images are inside of them."""

import base64
from io import BytesIO

import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image

from vitdecomp._utils import html
from vitdecomp.errors import OutputError


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A template in a package."""
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "__init__.py").touch()
    (tmp_path / "shelf" / "page.html.jinja").write_text(
        "{% for name in names %}\n<p title='{{ name }}'>{{ name }}</p>\n{% endfor %}\n{{ 'a' | twice }}", "utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return html.template("shelf", "page.html.jinja", twice=lambda text: Markup("<i>{0}{0}</i>").format(text))


def test_names_are_text_without_control_characters(page, tmp_path):
    place = html.stream_page(page, {"names": iter(["<b>'", "a\x1b\u202e\udcff"])}, tmp_path / "page.html")
    lines = place.read_text("utf-8").splitlines()
    assert lines[0] == "<p title='&lt;b&gt;&#39;'>&lt;b&gt;&#39;</p>"
    shown = "a\N{SYMBOL FOR ESCAPE}\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"
    assert lines[1] == f"<p title='{shown}'>{shown}</p>"
    assert lines[2] == "<i>aa</i>"


def test_a_page_that_cannot_be_written_is_refused(page, tmp_path):
    with pytest.raises(OutputError):
        html.stream_page(page, {"names": []}, tmp_path / "nowhere" / "page.html")


@pytest.mark.parametrize("size", [(3, 2), (300, 100)])
def test_small_pictures_are_enlarged_without_loss(size):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    kind, _, data = html.png_uri(Image.fromarray(pixels)).partition(",")
    assert kind == "data:image/png;base64"
    found = np.asarray(Image.open(BytesIO(base64.b64decode(data))))
    scale = found.shape[0] // size[1]
    assert max(found.shape) >= html.SIDE
    assert np.array_equal(found[::scale, ::scale], pixels)

"""A page of latent tokens: every token has its words, nothing is fetched, and nothing of a stranger's is obeyed."""

import html
import json
import re
import shutil
import subprocess

import pytest
import torch
from html_reader import Reader, read
from PIL import Image

import vitdecomp as vd
from vitdecomp.component import Token
from vitdecomp.latent import Descriptions
from vitdecomp.latent.page import LatentBatch, LatentPage, token_labels, write_latent_page

ROWS, COLUMNS, K = 2, 3, 2
PATCHES = [Token("patch", row, column, (ROWS, COLUMNS)) for row in range(ROWS) for column in range(COLUMNS)]
TOKENS = (Token("class"), Token("register"), Token("register"), *PATCHES)
BLOCKS = ("blocks.0", "<b>blocks.1", "blocks.2")
LAYERS = (0, 1, 3)
HOSTILE = ("</script><script>alert(1)</script>", '" onfocus="alert(2)', "{{ 7 * 7 }} & <i>'x'</i>", "<!--<script>")
TEXTS = (*HOSTILE, "snow", "a ring", "never the best")
NAMES = ("<img src=x onerror=alert(3)>.png", 'two".png', "three.png")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def descriptions(n, seed):
    draw = torch.Generator().manual_seed(seed)
    indices = torch.stack(
        [torch.randperm(len(TEXTS) - 1, generator=draw)[:K] for _ in range(n * len(LAYERS) * len(TOKENS))]
    )
    shape = n, len(LAYERS), len(TOKENS), K
    similarities = torch.rand(shape, generator=draw).sort(-1, descending=True).values
    return Descriptions(TEXTS, LAYERS, tuple(range(len(TOKENS))), indices.reshape(shape), similarities)


BATCHES = (
    LatentBatch(NAMES[:2], torch.rand(2, 3, 8, 12), descriptions(2, 0)),
    LatentBatch(NAMES[2:], [Image.new("RGB", (6, 4), "red")], descriptions(1, 1)),
)
FOUND = [(batch.descriptions, row) for batch in BATCHES for row in range(len(batch.names))]  # of each image


class Page(Reader):
    """Collects what is in the tables and in the scripts too."""

    def __init__(self):
        super().__init__()
        self.tables, self.scripts, self.headings = [], [], []

    def handle_starttag(self, tag, attrs):
        super().handle_starttag(tag, attrs)
        for kind, found in (("tbody", self.tables), ("script", self.scripts), ("h2", self.headings)):
            if tag == kind:
                found.append([] if kind == "tbody" else "")
        if "tbody" in self.open and tag in ("tr", "th", "td"):
            (self.tables[-1] if tag == "tr" else self.tables[-1][-1]).append([] if tag == "tr" else "")

    def handle_data(self, data):
        super().handle_data(data)
        if "tbody" in self.open and {"th", "td"} & set(self.open):
            self.tables[-1][-1][-1] += data
        if "script" in self.open:
            self.scripts[-1] += data
        if "h2" in self.open:
            self.headings[-1] += data

    @property
    def data(self):
        """Return what the script reads, for each image."""
        of = [attributes.get("type") for attributes in self.all("script")]
        return [json.loads(text) for kind, text in zip(of, self.scripts, strict=True) if kind == "application/json"]


def page_of(batches):
    return LatentPage("Tokens of <model> in words", BLOCKS, TOKENS, batches, ["A <note>."])


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    place = write_latent_page(page_of(iter(BATCHES)), tmp_path_factory.mktemp("page") / "page.html")
    return place.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return read(text, Page())


def test_elements_are_balanced_and_labelled(page):
    found = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(found) == len(set(found))
    assert {label["for"] for label in page.all("label") if "for" in label} <= set(found)
    assert len(page.all("h1")) == 1
    sliders = [each for each in page.all("input") if each["type"] == "range"]
    assert [(each["max"], each["value"]) for each in sliders] == [("2", "2")] * 3
    assert {each["id"] for each in sliders} <= {label.get("for") for label in page.all("label")}


def test_every_token_of_every_layer_has_its_words(page):
    for data, (found, row) in zip(page.data, FOUND, strict=True):
        place = iter(zip(data["numbers"], data["similarities"], strict=True))
        for layer in LAYERS:
            for token in found.tokens:
                said = [(data["texts"][number], similarity) for number, similarity in (next(place) for _ in range(K))]
                assert said == [(t, round(s, 3)) for t, s in found.words(row, layer, token)]
        assert next(place, None) is None
        assert "never the best" not in data["texts"]
        assert [label.partition(":")[0] for label in data["layers"]] == ["0 of 3", "1 of 3", "3 of 3"]


def test_the_last_layer_is_shown_without_a_script(page):
    buttons = [button for button in page.all("button") if "data-token" in button]
    assert len(buttons) == len(FOUND) * len(TOKENS)
    labels = token_labels(TOKENS)
    for i, (table, (found, row)) in enumerate(zip(page.tables, FOUND, strict=True)):
        for token, cells in enumerate(table):
            words = found.words(row, LAYERS[-1], token)
            assert cells == [f"{token} · {labels[token]}", *(f"{s:.3f} {t}" for t, s in words)]
        own = {int(b["data-token"]): b for b in buttons[i * len(TOKENS) : (i + 1) * len(TOKENS)]}
        for token, button in own.items():
            if TOKENS[token].kind == "patch":
                said = "; ".join(f"{t} {s:.3f}" for t, s in found.words(row, LAYERS[-1], token))
                assert button["title"] == f"{labels[token]}: {said}"


def test_patches_are_on_their_grid_and_other_tokens_beside_it(page):
    cells = [button for button in page.all("button") if "cell" in button.get("class", "")]
    areas = [re.search(r"grid-area: (\d+) / (\d+)", cell["style"]).groups() for cell in cells]
    expected = [(str(token.row + 1), str(token.column + 1)) for token in PATCHES]
    assert areas == expected * 3
    assert [int(cell["data-token"]) for cell in cells] == [3, 4, 5, 6, 7, 8] * 3


def test_shares_run_from_the_worst_to_the_best_of_all_layers(text):
    sections = list(page_of(BATCHES).sections())
    for section, (found, row) in zip(sections, FOUND, strict=True):
        best = found.similarities[row, :, :, 0]
        assert (section.low, section.high) == (float(best.min()), float(best.max()))
        shares = torch.tensor([cell.share for cell in section.cells])
        torch.testing.assert_close(section.low + shares * (section.high - section.low), best[-1])
        assert f"{section.low:.2f}<span></span>{section.high:.2f}" in text


def test_tokens_that_are_alike_have_a_share_too():
    same = Descriptions(TEXTS, (3,), (0, 3), torch.zeros(1, 1, 2, 1, dtype=torch.long), torch.full((1, 1, 2, 1), 0.5))
    (section,) = page_of([LatentBatch(["a.png"], torch.rand(1, 3, 4, 6), same)]).sections()
    assert [cell.share for cell in section.cells] == [0, 0]
    assert [cell.number for cell in section.cells] == [0, 3]


def test_nothing_is_fetched(page, text):
    assert {"link", "iframe", "object"}.isdisjoint(tag for tag, _ in page.elements)
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert all(image["alt"].strip() for image in page.all("img"))
    assert all("src" not in script for script in page.all("script"))
    assert "://" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_what_strangers_name_is_text(page, text):
    assert page.headings == list(NAMES)
    assert len(page.scripts) == 2 + len(NAMES)
    assert len(page.all("img")) == len(NAMES)
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert {"b", "i"} & {tag for tag, attributes in page.elements} == {"b"}  # ours, around "class token"
    assert "alert(1)</script>" not in text
    assert "A &lt;note&gt;." in text


def test_control_characters_are_made_visible(tmp_path):
    found = Descriptions(("red\u202eder", "b"), (3,), (0,), torch.tensor([[[[0, 1]]]]), torch.tensor([[[[0.5, 0.4]]]]))
    name = b"torn\xff\x1b[1m.png".decode("utf-8", "surrogateescape")
    place = write_latent_page(page_of([LatentBatch([name], torch.rand(1, 3, 4, 6), found)]), tmp_path / "page.html")
    text = place.read_text(encoding="utf-8")
    assert not re.search(r"[\u202e\x1b\udcff]|\\u202e", text)
    assert read(text, Page()).data[0]["texts"][0] == "red\N{REPLACEMENT CHARACTER}der"


def test_batches_are_asked_for_one_by_one_and_nothing_is_left_of_half_a_page(tmp_path):
    place = tmp_path / "page.html"
    place.write_text("before")

    def batches():
        yield BATCHES[0]
        assert [path.name for path in tmp_path.iterdir() if path != place]  # which is being written
        raise vd.InputError("no more")

    with pytest.raises(vd.InputError, match="no more"):
        write_latent_page(page_of(batches()), place)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("page.txt", vd.SpecError, "written as FILE.html, not as page.txt"),
        ("page", vd.SpecError, "written as FILE.html, not as page"),
        ("nowhere/page.html", vd.OutputError, "there is no directory"),
    ],
)
def test_places_that_are_refused(tmp_path, name, error, message):
    with pytest.raises(error, match=message):
        write_latent_page(page_of(BATCHES), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_tokens_of_several_grids_are_told_apart():
    tokens = (Token("class"), Token("patch", 0, 0, (1, 1)), Token("patch", 0, 0, (2, 2)), Token("other"))
    assert token_labels(tokens) == [
        "class token",
        "row 0, column 0 of 1 × 1",
        "row 0, column 0 of 2 × 2",
        "other token",
    ]


@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
def test_the_slider_the_keys_and_the_pointer_show_words(text, tmp_path):
    driven = tmp_path / "driven.html"
    driven.write_text(text.replace("</body>", f"<script>{DRIVER}</script></body>"), encoding="utf-8")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom")
    done = subprocess.run(
        [BROWSER, *flags, driven.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    told = json.loads(html.unescape(re.search("<output>(.*?)</output>", done.stdout, re.DOTALL)[1]))
    found, row = FOUND[0]
    rows = {layer: [found.words(row, layer, token) for token in range(len(TOKENS))] for layer in LAYERS}
    for at, layer in enumerate(LAYERS):
        assert told["tables"][at] == [[f"{s:.3f} {t}" for t, s in words] for words in rows[layer]]
        assert told["labels"][at] == ["; ".join(f"{t} {s:.3f}" for t, s in words) for words in rows[layer][3:]]
    assert told["focus"] == 3 + COLUMNS + 1  # one to the right and one down from the first patch
    assert told["best"] == [f"{t}{s:.3f}" for t, s in rows[0][told["focus"]]]
    assert told["pointed"] == "register token 1"
    assert told["through"] == [f"{layer}{t}{s:.3f}" for layer in LAYERS for t, s in rows[layer][2][:1]]
    assert told["stops"] == 1
    assert told["together"] == ["0", "0", "0"]


DRIVER = """
{
  const all = (of, name) => [...of.querySelectorAll(name)], section = document.querySelector("section");
  const slider = section.querySelector("input"), told = { tables: [], labels: [] };
  const move = at => {
    slider.value = at;
    slider.dispatchEvent(new Event("input"));
    dispatchEvent(new Event("beforeprint")); // else images are drawn when they come into sight
  };
  const press = key => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  for (let at = 0; at < 3; at++) {
    move(at);
    told.tables.push(all(section, "tbody tr").map(row => all(row, "td").map(cell => cell.textContent)));
    told.labels.push(all(section, ".cell").map(cell => cell.getAttribute("aria-label").split(/: (.*)/)[1]));
  }
  move(0);
  section.querySelector(".cell").focus();
  press("ArrowRight"), press("ArrowDown"), press("ArrowDown");
  document.activeElement.dispatchEvent(new FocusEvent("focusin", { bubbles: true })); // as of a window in front
  told.focus = Number(document.activeElement.dataset.token);
  told.best = all(section, ".best li").map(line => line.textContent);
  section.querySelectorAll("tbody tr")[2].dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
  told.pointed = section.querySelector(".token").textContent;
  told.through = all(section, ".through li").map(line => line.textContent);
  told.stops = all(section, ".cell").filter(cell => cell.tabIndex === 0).length;
  document.getElementById("together").checked = true;
  move(0);
  told.together = all(document, "caption .layer").map(layer => layer.textContent.split(" ")[0]);
  const shown = document.createElement("output");
  shown.textContent = JSON.stringify(told);
  document.body.replaceChildren(shown);
}
"""

"""The page in a real Chromium: opened, searched, clicked, dropped into, by mouse and keyboard, wide and narrow."""

import csv
import io
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from commands import in_process, succeeded
from PIL import Image

pytestmark = pytest.mark.xdist_group("alignment-app")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
HEAD = "visual.trunk.blocks.4.attn.head.2"
SEARCH = "#/search?text=something+in+a+forest&feature=location"
VIEWS = {
    "model": "#/model?measure=score&feature=location",
    "component": f"#/component?component={HEAD}&maps=1",
    "search": f"{SEARCH}&components={HEAD}",
    "image": "#/image?row=3&text=a+red+circle&method=decompose&method=legrad",
    "cue": "#/cue?cue=water,snow,forest,sand&core=circle,heart,star,square&top=5&limit=60",
}
DROP = """(zone, bytes) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], "my <b>photo</b>.png", { type: "image/png" }));
  zone.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium here: Debian's package `chromium` has one")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(serving, session):
    return serving(session)


@pytest.fixture
def opened(browser, address):
    """Open pages, which must neither fail nor ask for anything elsewhere."""
    contexts, troubles = [], []

    def note(request):
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob") and url.hostname != "127.0.0.1":
            troubles.append(request.url)

    def page(link="", width=1400, scheme="light", base=address, wait=".reproduce"):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.on("request", note)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: troubles.append(dialog.message) or dialog.dismiss())
        page.goto(f"{base}{link}")
        page.wait_for_selector(wait)
        page.wait_for_selector(".working", state="detached")
        return page

    yield page
    for context in contexts:
        context.close()
    assert not troubles


def rows(page, place=".hits"):
    return [link.get_attribute("href") for link in page.locator(place).first.locator("a").all()]


def serious(found):
    kinds = ("serious", "critical")
    return [(one["id"], one["nodes"][0]["html"]) for one in found.response["violations"] if one["impact"] in kinds]


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_accessible_and_fits(opened, view):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    page = opened(VIEWS[view])
    if view in ("image", "component"):
        page.wait_for_selector(".maps .panel")
    for width, scheme in ((1400, "light"), (390, "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert not serious(axe.run(page))
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert serious(axe.run(page, context="main > button"))  # it would have been seen


def test_a_cell_opens_its_component_by_mouse_and_by_keyboard(opened):
    page = opened()
    page.locator(f'.cell[data-name="{HEAD}"]').click()
    page.wait_for_selector(".names")
    assert HEAD in page.locator("main").inner_text()
    page.go_back()
    page.wait_for_selector(".grid")
    page.locator(".grid .cell").first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowLeft", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    assert "1.attn.head.1" in page.locator(".readout").inner_text()
    assert page.locator('.grid .cell[tabindex="0"]').count() == 1
    page.keyboard.press("Enter")
    page.wait_for_selector(".names")
    assert "blocks.1.attn.head.1" in page.url


def test_the_measure_is_chosen_and_stands_in_the_link(opened):
    page = opened()
    page.get_by_label("Color by").select_option("score")
    page.get_by_label("Feature", exact=True).select_option("location")
    page.wait_for_selector(".reproduce")
    assert page.url.endswith("#/model?measure=score&feature=location")
    page.get_by_label("Color by").select_option("name")
    page.wait_for_selector(".ranking .hint")


def test_words_are_searched_and_the_link_restores_what_was_found(opened):
    page = opened("#/search", wait=".lead")
    page.get_by_label("Look for").fill("something in a forest")
    page.get_by_label("In", exact=True).select_option("location")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Search", exact=True).click()
    page.wait_for_selector(".reproduce")
    assert page.locator(".hits").count() == 2
    found = rows(page)
    assert len(found) == 12
    assert rows(opened(page.url.partition("/#")[2].join(["#", ""]))) == found


def test_components_are_picked_by_hand(opened):
    page = opened("#/search?text=a+red+thing")
    page.get_by_text("Components by hand").click()
    page.locator(f'.pick[data-name="{HEAD}"]').click()
    page.get_by_role("button", name="Search", exact=True).click()
    page.wait_for_selector("h3:has-text('by 1 component')")
    assert f"components={HEAD}" in page.url
    assert page.locator('.pick[aria-pressed="true"]').count() == 1


@pytest.mark.parametrize(("view", "found"), [("search", ".hits"), ("image", ".bars")])
def test_an_image_is_dropped(opened, place, view, found):
    page = opened(f"#/{view}", wait=".dropzone")
    data = list((place / "scenes" / "003.png").read_bytes())
    page.evaluate(f"bytes => ({DROP})(document.querySelector('main .dropzone'), bytes)", data)
    page.wait_for_selector(found)
    assert "upload=" in page.url
    assert "b>.png" in page.locator("main").inner_text()
    page.locator('input[type="file"]').set_input_files(place / "scenes" / "004.png")
    page.wait_for_selector(":text('004.png')")


def test_a_file_that_is_no_image_is_refused_in_a_line(opened, tmp_path, browser, address):
    (tmp_path / "a.png").write_text("<script>alert(1)</script>")
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{address}#/image")
    page.locator('input[type="file"]').set_input_files(tmp_path / "a.png")
    page.wait_for_selector(".drop .hint:has-text('cannot read image a.png')")
    context.close()


def test_downloads_hold_what_is_shown(opened, session):
    page = opened(SEARCH)
    files = {}
    for kind in ("PNG", "SVG", "CSV"):
        with page.expect_download() as download:
            page.get_by_role("button", name=kind, exact=True).click()
        files[kind] = Path(download.value.path()).read_bytes()
    with Image.open(io.BytesIO(files["PNG"])) as image:
        assert image.format == "PNG"
        assert len(image.convert("RGB").resize((200, 200)).getcolors(40_000)) > 100  # with the hits in it
    assert files["SVG"].count(b"data:image/") == 24
    table = list(csv.DictReader(io.StringIO(files["CSV"].decode())))
    assert [f"#/image?row={row['row']}" for row in table[:12]] == rows(page)
    assert table[0]["image"] == session.hit(int(table[0]["row"])).id


def test_what_is_copied_is_what_is_shown(opened):
    page = opened(SEARCH)
    page.get_by_text("Show the command and the code").click()
    for name, shown in (("command", "code.command"), ("Python", "code.python")):
        page.get_by_role("button", name=f"Copy as {name}").click()
        page.wait_for_selector(".toast:has-text('copied')")
        assert page.evaluate("navigator.clipboard.readText()") == page.locator(shown).text_content()
    page.get_by_role("button", name="Copy link").click()
    page.wait_for_selector(".toast:has-text('Link copied')")
    assert page.evaluate("navigator.clipboard.readText()") == page.url


def test_a_cue_is_removed_and_the_model_downloaded(opened):
    page = opened("#/cue", wait="form")
    assert "is judged on, the images of labelled." in page.inner_text("main")
    page.get_by_label("Words of the cue").fill("water,snow,forest,sand")
    page.get_by_label("Words of the class").fill("circle,heart,star,square")
    page.get_by_label("Components to remove").fill("5")
    page.get_by_label("Images of each split").fill("60")
    page.get_by_role("button", name="Remove the cue").click()
    page.wait_for_selector(".figures")
    assert page.locator(".pairs li").count() == 8
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the model without the cue").click()
    assert download.value.suggested_filename == "without-cue.safetensors"


def test_names_of_strangers_are_shown_and_not_obeyed(opened, place, serving):
    """A store of a stranger, whose files and features are called as a script, does nothing."""
    from vitdecomp_alignment.app.config import SessionConfig
    from vitdecomp_alignment.app.session import Session
    from vitdecomp_alignment.clip.contributions import Reading

    from vitdecomp.models.prepare import ModelOptions

    folder = place / "evil" / "<script>document.title='obeyed'<"
    folder.mkdir(parents=True)
    for i in range(12):
        source = place / "scenes" / f"{i:03}.png"
        shutil.copy(source, folder / f"{i}<img src=x onerror=alert(1)>.png")
    words = ("extract", "scenes:clip", "--images", "evil", "--out", "evil.lance", "--quiet")
    succeeded(in_process(place, *words))
    evil = "<img src=x onerror=alert(2)>"
    reading = Reading(store=str(place / "evil.lance"))
    config = SessionConfig(
        ModelOptions, None, reading, (f"{evil}={evil},a red thing",), (place / "evil",), None, place / "cache"
    )
    session = Session.of(config)
    base = serving(session)
    for link in (
        f"#/search?text={evil}&name={evil}",
        "#/image?row=3",
        f"#/component?component={HEAD}",
        "#/model?measure=score",
    ):
        page = opened(link, base=base)
        page.wait_for_timeout(200)
        assert page.locator("script").count() == 1
        assert page.locator('img[src="x"]').count() == 0
        assert "obeyed" not in page.title()
        assert "<img src=x onerror" in page.content().replace("&lt;", "<")
    page = opened("#/search?text=a+red+thing", base=base)
    assert "<img src=x onerror=alert(1)>" in page.locator(".hits").first.inner_text()
    with page.expect_download() as download:
        page.get_by_role("button", name="SVG", exact=True).click()
    assert b"<script" not in Path(download.value.path()).read_bytes()
    session.close()

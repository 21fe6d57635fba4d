"""Text of strangers on a terminal, tables with all their digits."""

import io

import pytest
from forks import Fork, source
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from vitdecomp._utils.console import PlainConsole, make_table, print_table, printable

HOSTILE = ("[/b]", "[red]red[/red]", ":smile:", "\x1b[31mred", "\x9b31m", "a\u2028b", "\u202egnp", "\udcff.png", "²")


def shown(*things, width=80):
    console = PlainConsole(file=io.StringIO(), width=width)
    for thing in things:
        console.print(thing)
    return console.file.getvalue()


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("as_text", [False, True])
def test_text_is_printed_as_it_is(text, as_text):
    table = make_table("name", words={"name"}, title=text)
    table.add_row(Text(text) if as_text else text)
    for thing in (text, Text(text), table):
        written = shown(thing)
        assert printable(text) in written
        assert written.encode("utf-8")
        assert not set("\x1b\x9b") & set(written)


@given(st.text(st.characters(), max_size=30))
def test_what_is_printable_stays_and_nothing_else_does(text):
    result = printable(text)
    assert len(result) == len(text)
    assert printable(result) == result
    assert all(a == b or not a.isprintable() for a, b in zip(text, result, strict=True))
    assert not any(c in result for c in "\x1b\r\b\x00\x9b\u2028\u202e\udcff")


def test_cells_of_controls_are_not_cut():
    for cell in ("\x1b[31m/a/b.png", Text("\x1b[31m/a/b.png")):
        table = make_table("score", "\x1bimage", words={"\x1bimage"})
        table.add_row("0.1", cell)
        assert shown(table).splitlines()[1].rstrip().endswith("/a/b.png")


@pytest.mark.parametrize("width", [20, 40, 80])
def test_tables_lose_no_digit(width):
    numbers = [f"{i}.{i:09}" for i in range(1, 9)]
    table = make_table("a long name of a column", *numbers, words={"a long name of a column"})
    table.add_row("word " * 12, *numbers)
    console = PlainConsole(file=io.StringIO(), width=width)
    print_table(console, table, indent=2)
    lines = console.file.getvalue().splitlines()
    assert all(sum(number in line for number in numbers) in (0, len(numbers)) for line in lines)
    assert sum(all(number in line for number in numbers) for line in lines) == 2
    assert console.width == width
    plain = Console(file=io.StringIO(), width=width, markup=False)
    plain.print(table)  # as rich would have it
    assert not any(all(number in line for number in numbers) for line in plain.file.getvalue().splitlines())


ASCII = """
import sys
sys.stdout.reconfigure(encoding="ascii")
from vitdecomp.cli.main import main
main()
"""


def test_a_terminal_without_unicode_shows_all_the_rest(tmp_path):
    flags = ["--limit", "20", "--quiet", "--features", "[/b]‖=a red thing,[red]", "--features", "²=a blue thing"]
    fork = Fork(source, ASCII, "rank", "scenes:clip", *flags, cwd=tmp_path, COLUMNS="80")
    out, err = fork.communicate()
    assert (fork.returncode, "Traceback" in err) == (0, False)
    assert "[/b]\\u2016: a red thing, [red]" in out

"""What `speed.py` found, as Markdown: all of it in a file of its own, and what matters in a section of a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench import model_of
from machine import Machine, counted
from sheets import Sheet
from speed_tasks import TASKS, Task
from timing import PLAIN, Row

Found = Mapping[str, Any]
"""A run: `name`, `command`, `machine`, `conditions`, and the parts `time`, `memory`, `peers`, `curves`."""
NOTHING = "–"
FIT, AGAIN = "tracing, seconds", "the second time, from the cache, seconds"


def full(found: Found) -> str:
    """Everything in tables."""
    text = [f"# What a decomposition costs: {found['name']}", *_made(found)]
    for entry in found.get("time", ()):
        text += [f"## {_title(entry)}", _times_sheet(entry).markdown() if not entry["why"] else f"{entry['why']}."]
        if not entry["why"]:
            text.append(
                f"{entry['components']} components; traced in {entry['fit']:.1f} s, again in {entry['again']:.1f} s."
            )
    text += _together(found, "##")
    if found.get("curves"):
        text.append("## Curves")
        text += [sheet.markdown() for name, curve in found["curves"].items() for sheet in curve_sheets(name, curve)]
    return "\n\n".join(text) + "\n"


def section(found: Found, folder: str, pictures: Sequence[str] = ()) -> str:
    """Write the part of a page that belongs to one run.

    Args:
        found: the run.
        folder: where its files lie, seen from the page.
        pictures: files of curves in this folder, without them no pictures.
    """
    text = [f"## {found['name']}", *_made(found), *_together(found, "###")]
    if pictures:
        text += ["### Curves", *(f"![Cost as a ratio to the plain pass, and in time]({folder}/{p})" for p in pictures)]
    text.append(f"[All figures of this run]({folder}/speed-{found['name']}.md).")
    return "\n\n".join(text)


def placed(page: str, name: str, text: str) -> str:
    """Replace the section of one run in a page, or add it at the end; all other words stay.

    Raises:
        ValueError: the page has a beginning of the section and no end, or the other way round.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    if (page.count(begin), page.count(end)) not in ((0, 0), (1, 1)):
        raise ValueError(f"the page needs one {begin} and one {end} after it, or neither")
    block = f"{begin}\n\n{text}\n\n{end}"
    if begin not in page:
        return f"{page.rstrip()}\n\n{block}\n"
    before, rest = page.split(begin)
    if end not in rest:
        raise ValueError(f"the page has {end} before {begin}")
    return f"{before}{block}{rest.split(end)[1]}"


def target_sheets(found: Found) -> list[Sheet]:
    """Write the tables of all batches."""
    entries, memory = found.get("time", ()), found.get("memory", ())
    batches = dict.fromkeys(entry["batch"] for entry in (*entries, *memory))
    return [sheet for batch in batches for sheet in targets(entries, memory, batch)]


def targets(entries: Sequence[Found], memory: Sequence[Found], batch: int) -> list[Sheet]:
    """Time of every task beside what it may cost, and memory, one column a model."""
    some = [entry for entry in entries if entry["batch"] == batch]
    sheets = []
    if some:
        rows = [[name, *(_time(e, name, task) for e in some)]
                for name, task in TASKS.items() if name != PLAIN]  # fmt: skip
        fits = (_against(e.get("fit"), model_of(e["model"]).fit, e["why"], "{:.1f}") for e in some)
        again = (_against(e.get("again"), None, e["why"], "{:.1f}") for e in some)
        header = ["times the plain pass", *(model_of(e["model"]).title for e in some)]
        sheets.append(Sheet(f"Time, batch {batch}", header, [*rows, [FIT, *fits], [AGAIN, *again]]))
    peaks = [entry for entry in memory if entry["batch"] == batch]
    known = [(name, task) for name, task in TASKS.items() if any(name in e.get("rows", ()) for e in peaks)]
    if known:
        rows = [[name, *(_peak(e, name, task) for e in peaks)] for name, task in known if name != PLAIN]
        plains = ["plain, MiB", *(_mebibytes(e) for e in peaks)]
        header = ["times the plain pass's peak", *(model_of(e["model"]).title for e in peaks)]
        sheets.append(Sheet(f"Memory, batch {batch}", header, [plains, *rows]))
    return sheets


def peers_sheet(entry: Found) -> Sheet:
    """Others' tools and ours on one model."""
    rows = [] if not entry["why"] else [[NOTHING, "", "", entry["why"], ""]]
    for row in entry.get("rows", ()):
        if row["task"] != PLAIN:
            seen = Row(row["task"], row["batch"], row["seconds"], row["ratio"], row["why"])
            cells = [
                seen.why or _number(seen.ratio, "{:.2f}"),
                "" if seen.why else _number(seen.milliseconds, "{:.0f}"),
            ]
            rows.append([row["task"], row["computes"], row["exact"], *cells])
    header = ["tool", "what it computes", "sums to the product", "x plain", "ms"]
    return Sheet(_title(entry), header, rows, words=3)


def curve_sheets(name: str, curve: Found) -> Iterable[Sheet]:
    """Write a curve in numbers."""
    if curve["why"] or not curve["points"]:
        yield Sheet(f"By {name}", [curve["label"], "x plain"], [[NOTHING, curve["why"]]])
        return
    tasks = [row["task"] for row in curve["points"][0]["rows"]]
    rows = []
    for point in curve["points"]:
        seen = {row["task"]: Row(**row) for row in point["rows"]}
        cells = [seen[task].why or _number(seen[task].ratio, "{:.2f}") for task in tasks if task != PLAIN]
        rows.append([f"{point['at']}", _number(seen[PLAIN].milliseconds, "{:.1f}"), *cells])
    yield Sheet(f"By {name}", [curve["label"], "plain, ms", *(f"{t}, x plain" for t in tasks if t != PLAIN)], rows)


def _made(found: Found) -> list[str]:
    conditions, machine = found["conditions"], Machine(**found["machine"])
    rounds = f"at least {counted(conditions['rounds'], 'round')} and {conditions['seconds']:g} s"
    where = f"{conditions['dtype']} on {conditions['device']}, {rounds}"
    return [f"Made by `{found['command']}`: {where}.", machine.sentence()]


def _together(found: Found, level: str) -> list[str]:
    """Tables that are in the page and in the file alike, under headings of a level."""
    sheets = target_sheets(found)
    text = [f"{level} Against the targets", *(sheet.markdown() for sheet in sheets)] if sheets else []
    if found.get("peers"):
        text.append(f"{level} Beside other tools")
    return [*text, *(peers_sheet(entry).markdown() for entry in found.get("peers", ()))]


def _times_sheet(entry: Found) -> Sheet:
    rows = []
    for row in entry["rows"]:
        seen = Row(**row)
        cells = [seen.why, ""] if seen.why else [_number(seen.milliseconds, "{:.1f}"), _number(seen.ratio, "{:.3f}")]
        rows.append([seen.task, f"{seen.batch}", *cells])
    return Sheet(entry["model"], ["task", "images", "ms", "x plain"], rows)


def _title(entry: Found) -> str:
    return f"{model_of(entry['model']).title}, batch {entry['batch']}"


def _time(entry: Found, name: str, task: Task) -> str:
    row = next((row for row in entry.get("rows", ()) if row["task"] == name), {})
    return _against(row.get("ratio"), task.limit(model_of(entry["model"])), row.get("why") or entry["why"])


def _against(value: float | None, limit: float | None, why: str, form: str = "{:.3f}") -> str:
    if value is None:
        return why or NOTHING
    told = form.format(value)
    if limit is None:
        return told
    return f"{told} ≤ {limit:g}" if value <= limit else f"**{told} > {limit:g}**"


def _peak(entry: Found, name: str, task: Task) -> str:
    row = entry.get("rows", {}).get(name, {})
    plain = (entry.get("rows", {}).get(PLAIN, {}).get("bytes")) or 0
    value = row["bytes"] / plain if row.get("bytes") is not None and plain > 0 else None
    return _against(value, task.memory, row.get("why") or entry["why"], "{:.2f}")


def _mebibytes(entry: Found) -> str:
    row = entry.get("rows", {}).get(PLAIN, {})
    return f"{row['bytes'] / 2**20:.0f}" if row.get("bytes") is not None else row.get("why") or entry["why"]


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None else form.format(value)

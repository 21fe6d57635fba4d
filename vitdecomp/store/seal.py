"""When a store is complete: which version that is, and checksums of all that it consists of.

A complete version is sealed by the configuration of `images.lance`, in the commit that makes it complete:

- `complete`: `true`, or `false` while rows are added; `before` is how many there were.
- `checksums`: JSON with those of the data files of both tables, the version of `bases.lance`, and a checksum of it.
- `seal`: a checksum of these, of the columns and of what stands where in `images.lance`; empty while rows are added.

Before rows are added, the complete version gets a tag in both tables, which readers open until the next one is there.
Stores that older versions of vitdecomp wrote have no seal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from vitdecomp._utils.checksum import digest
from vitdecomp._utils.limits import INDEX
from vitdecomp._utils.schema import from_json
from vitdecomp.errors import DamageError, InputError
from vitdecomp.store.data_files import REMEDY
from vitdecomp.store.lance import Table

COMPLETE = "complete"  # key of the configuration, and the tag
CHANGED = (
    "it is damaged (its checksum differs), or a vitdecomp from before there were checksums added to it, which no later "
    "one can tell from damage"
)
READ = ("checksums", "roots")  # keys that decide what is read


@dataclass(frozen=True, slots=True)
class Checksums:
    """Of what a store consists of.

    Attributes:
        images, bases: of the data files of the tables, by path.
        bases_version: which one belongs to this version of `images.lance`. bases_told: checksum of what it says.
    """

    images: Mapping[str, str]
    bases: Mapping[str, str]
    bases_version: int
    bases_told: str


def is_complete(images: Table) -> bool:
    """Check whether no rows are being added."""
    return images.config.get(COMPLETE) == "true"


def open_complete(images: Table, bases: Table, *, verify: bool | None = None) -> bool:
    """Go to the last complete version of a store whose table of images is open.

    Args:
        images: the table of images.
        bases: the table of bases.
        verify: compare the checksums of data files when they are first read; default: of those on this machine.

    Returns:
        Whether rows are being added, or were when a process was killed.

    Raises:
        InputError: there is no complete version.
        DamageError: the tables are not what they were.
    """
    _check(images, bases, verify)
    later = not is_complete(images)
    if later:
        if not images.open(COMPLETE):
            raise InputError(f"the extraction in {images.uri} is not finished: run the same command again")
        _check(images, bases, verify)
    if bases.closed:
        _open_bases(bases, COMPLETE if later else None)
    _check_sizes(images, bases)
    return later


def open_latest(images: Table, bases: Table) -> None:
    """Go to the latest version of both, whether it is complete or not, to write to it.

    Raises:
        DamageError: the tables are not what they were.
    """
    found = _check(images, bases, None)
    _open_bases(bases, None)
    if found is not None and images.here:
        _expect(images, bases, found)
    _check_sizes(images, bases)


def unseal(images: Table, bases: Table) -> None:
    """Keep a complete version for readers, before something is added.

    Raises:
        OutputError: it cannot be written.
    """
    if is_complete(images):
        found = _read(images)
        bases.tag(COMPLETE, bases.version if found is None else found.bases_version)
        images.tag(COMPLETE, images.version)
        images.set(complete="false", before=str(len(images)), seal="")


def seal(images: Table, bases: Table) -> None:
    """Make the latest version a complete one; `release` lets the one before it go.

    Raises:
        OutputError: it cannot be written.
    """
    found = _read(images)
    known = Checksums({}, {}, 0, "") if found is None else found
    told = Checksums(
        images.files.checksums(known.images),
        bases.files.checksums(known.bases),
        bases.version,
        _sum(bases.files.told()),
    )
    amend(images, complete="true", checksums=json.dumps(asdict(told)))


def release(images: Table, bases: Table) -> bool:
    """Let the complete version before the latest one go; whether there was one.

    Raises:
        OutputError: it cannot be written.
    """
    found = [table.untag(COMPLETE) for table in (images, bases)]
    return any(found)


def amend(images: Table, **config: str) -> None:
    """Change the configuration, and the seal with it if there is one or the store is complete now.

    Raises:
        OutputError: it cannot be written.
    """
    changed = {**images.config, **config}
    sealed = COMPLETE in config or changed.get("seal")
    images.set(**config, **({"seal": _seal(images, changed)} if sealed else {}))


def _check(images: Table, bases: Table, verify: bool | None) -> Checksums | None:
    """Compare the seal, and get prepared to compare the data files; what is not sealed is as it is."""
    config, found = images.config, _read(images)
    if not config.get("seal") or found is None:
        return found
    if config["seal"] != _seal(images, config):
        raise DamageError(f"cannot read {images.uri}: {CHANGED}; {REMEDY}")
    _open_bases(bases, found.bases_version)
    if _sum(bases.files.told()) != found.bases_told:
        raise DamageError(f"cannot read {bases.uri}: {CHANGED}; {REMEDY}")
    if images.here if verify is None else verify:
        _expect(images, bases, found)
    return found


def _open_bases(bases: Table, version: int | str | None) -> None:
    if not bases.open(version):
        raise DamageError(f"{bases.uri} is damaged: it is missing; {REMEDY}")


def _expect(images: Table, bases: Table, found: Checksums) -> None:
    for table, checksums in ((images, found.images), (bases, found.bases)):
        try:
            table.expect(checksums)
        except ValueError as error:
            raise DamageError(f"cannot read {table.uri}: its checksums cannot be read ({error}); {REMEDY}") from error


def _check_sizes(images: Table, bases: Table) -> None:
    for table in (images, bases):
        if damage := table.damage():
            raise DamageError(f"{table.uri} is damaged ({damage}): {REMEDY}")


def _read(images: Table) -> Checksums | None:
    text = images.config.get("checksums")
    return None if text is None else from_json(text, Checksums, place=images.uri, remedy=REMEDY, most=INDEX)


def _seal(images: Table, config: Mapping[str, str]) -> str:
    return _sum(json.dumps([images.files.told(), *(config.get(key) for key in READ)]))


def _sum(text: str) -> str:
    return digest([text])

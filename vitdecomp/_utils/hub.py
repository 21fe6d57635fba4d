"""Trained weights from a hub or its cache: quick to give up, with one clear line when they cannot be had."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterator, Sized
from contextlib import ExitStack, contextmanager, redirect_stderr
from io import StringIO

from vitdecomp.errors import LoadError, VitdecompError

PATIENCE = 4.0  # seconds for the hub to answer at all; without this, retries of its client take about a minute
REMEDY = (
    "Use random weights (--random-weights, pretrained=False), a local checkpoint (--checkpoint PATH, "
    "checkpoint_path=...), or a filled hub cache with HF_HUB_OFFLINE=1"
)
TOKENIZER_REMEDY = (
    "Fill the hub cache where there is a network and set HF_HUB_OFFLINE=1, or take a model whose tokenizer comes with "
    "its library, such as open_clip:ViT-B-16"
)
UNREACHED = "the hub cannot be reached and they are not in its cache"


@contextmanager
def fetching(
    spec: str,
    *,
    local: bool = False,
    what: str = "trained weights",
    remedy: str = REMEDY,
    unreached: str = UNREACHED,
) -> Iterator[None]:
    """Run code of a model library that may download; when the hub does not answer, the cache is all there is.

    Args:
        spec: the model, for the message.
        local: whether all files are on this machine, so that the hub need not be asked.
        what: files that the code needs, for the message.
        remedy: how to do without the hub, for the message.
        unreached: what is said when the hub does not answer and the cache has not got the files.

    Raises:
        LoadError: whatever the library raised, as one line with the remedy.
    """
    with ExitStack() as stack:
        stack.enter_context(quiet())
        stack.enter_context(_bounded())
        offline = local or not _reachable()
        if offline:
            stack.enter_context(_cache_only())
            stack.enter_context(redirect_stderr(StringIO()))  # "Downloading ..." of what will not come
        try:
            yield
        except VitdecompError:
            raise
        except Exception as error:  # the libraries and their http clients raise anything
            reason = unreached if offline and not local and _is_missing_file(error) else _reason(error)
            raise LoadError(f"cannot get the {what} of {spec}: {reason}. {remedy}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep log lines and warnings of libraries off the terminal; every setting is put back afterwards."""
    root, nothing, before = logging.getLogger(), logging.NullHandler(), logging.root.manager.disable
    root.addHandler(nothing)  # without any handler, logging.warning would install one for good
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        root.removeHandler(nothing)


@contextmanager
def _bounded() -> Iterator[None]:
    """Sockets that nobody gave a timeout (urllib's) do not wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(4 * PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _reachable() -> bool:
    """Check whether the Hugging Face hub, where nearly all weights are, answers."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        return bool(get_session().head(constants.ENDPOINT, timeout=PATIENCE).status_code < 500)
    except Exception:  # the http client depends on the hub's version, and so do its exceptions
        return False


def _is_missing_file(error: BaseException | None) -> bool:
    """Check whether a download or a look into the cache failed, rather than what was made of the file."""
    while error is not None:
        if isinstance(error, OSError):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _cache_only() -> Iterator[None]:
    """Set the hub's offline mode by its constant: its environment variable is read on import only."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def local_file(path: str | os.PathLike[str]) -> str:
    """Return a checkpoint's path.

    Raises:
        LoadError: there is no such file.
    """
    if not os.path.isfile(path):  # noqa: PTH113 - the libraries want a string, and so it stays one
        raise LoadError(f"checkpoint {os.fspath(path)} is not a file")
    return os.fspath(path)


def check_vocabulary(tokenizer: Sized, size: int) -> None:
    """Refuse a tokenizer without its vocabulary, which transformers makes without a word where the files are missing.

    Args:
        tokenizer: with as many tokens as it has a length.
        size: tokens that the model knows, a few of which may be there to fill up its table.

    Raises:
        FileNotFoundError: it has not even half of them.
    """
    if 2 * len(tokenizer) < size:
        raise FileNotFoundError(f"found {len(tokenizer)} tokens where the model knows {size}")


def _reason(error: BaseException) -> str:
    """Say what went wrong with a file; torch's advice to run a pickle's code is not passed on."""
    unsafe = "weights_only" in str(error) or type(error).__name__ == "UnpicklingError"
    return "not safetensors, nor a file of tensors alone" if unsafe else first_line(error)


def first_line(error: BaseException) -> str:
    """Shorten what an exception says to one line; a heading that ends in a colon takes the next line along."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    while len(lines) > 1 and lines[0].endswith(":"):
        lines[:2] = [f"{lines[0]} {lines[1]}"]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__

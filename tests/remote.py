"""A program run as a worker of Ray Train runs it, in this process."""

import queue
from contextlib import suppress
from pathlib import Path

from vitdecomp._utils.progress import unseen
from vitdecomp.distributed.messages import Attempt, ShownStage
from vitdecomp.distributed.ray_train import RemoteProgram


def attempt(program):
    """What the process that started the worker receives of it."""
    messages, received = queue.Queue(), Attempt(ShownStage(unseen))
    with suppress(Exception):  # which makes Ray Train end the others
        RemoteProgram(program, Path.cwd(), messages).run()
    while not messages.empty():
        received.receive(*messages.get())
    return received

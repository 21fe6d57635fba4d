"""The whole story on pictures whose every factor is known, as one page."""

from vitdecomp.demo.context import Options
from vitdecomp.demo.run import Demo, Stage, run_demo

__all__ = ["Demo", "Options", "Stage", "run_demo"]

"""The contributions of a store as tables and arrays that other tools open."""

from vitdecomp.export.export import Exported, export

__all__ = ["Exported", "export"]

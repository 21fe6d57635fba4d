"""Retrieval: images that are like a text or like other images, in everything or in one feature."""

from vitdecomp.retrieval.hit import Hit
from vitdecomp.retrieval.query import Query
from vitdecomp.retrieval.retriever import Retriever
from vitdecomp.retrieval.scope import Ranking, Scope

__all__ = ["Hit", "Query", "Ranking", "Retriever", "Scope"]

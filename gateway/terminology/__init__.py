"""Codes and what they mean: systems, value sets and maps, from our tables and from loaded definitions."""

from gateway.terminology.conceptmaps import Match
from gateway.terminology.service import Terminology
from gateway.terminology.valuesets import Concept

__all__ = ["Concept", "Match", "Terminology"]

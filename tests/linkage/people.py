"""Traits for tests, in one line each."""

from gateway.adapters.files.linkage import default_reader, load_model
from gateway.linkage.frequency import Frequencies
from gateway.linkage.scoring import Scorer
from gateway.linkage.traits import Traits


def person(key: str = "a", **values: str) -> Traits:
    """Traits of a row with the columns of the evaluation command."""
    return default_reader().row({"id": key, **values})


def scorer(*people: Traits, population: int = 10_000) -> Scorer:
    """The shipped model over an index that holds ``people``."""
    return Scorer(load_model(), Frequencies.of(people), population=population)

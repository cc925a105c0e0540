"""Reads and searches as the store grows tenfold, and what storing costs, on the embedded database.

Growth is the ratio of the median times with 30,000 and with 3,000 resources: 1 is flat. Names, dates and codes have the
cardinalities of real ones; what a search costs hangs on them. The floor of a read is the same row fetched by a bare
sqlite3 cursor in the same run.
"""

import random
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import parse_qsl

from gateway.adapters.db.store import DbStore
from gateway.exchange.ports.resources import Draft
from gateway.exchange.search import parse_query
from gateway.exchange.search_run import search
from gateway.kernel.fhir import Resource
from gateway.kernel.identifiers import key_of
from gateway.settings import Settings
from gateway.wiring import open_store, search_definitions

_SIZES: Final = (3_000, 30_000)
_ROUNDS: Final = 25
_NOW: Final = 1_767_225_600_000_000
_TOGETHER: Final = 300  # resources that are written together
_CATEGORIES: Final = "http://terminology.hl7.org/CodeSystem/observation-category"
_SOUNDS: Final = ["ba", "de", "ki", "lo", "mu", "na", "ra", "si", "to", "vu", "ze", "ha", "jo", "pi", "ce", "wa"]

SEARCHES: Final = {
    "identifier": "Patient?identifier=urn:bench:mrn|M{n}",
    "family and birth date": "Patient?family={family}&birthdate={born}",
    "name, birth date and gender": "Patient?name={given}&birthdate={born}&gender=female",
    "unselective token, one page": "Patient?gender=female&_count=20",
    "date range and token": "Patient?birthdate=ge{born}&gender=female&_count=10",
    "observations of a patient, newest first": "Observation?patient=Patient/p{n}&_sort=-date",
    "patient, date range and code": "Observation?patient=Patient/p{n}&date=ge2012&date=lt2024&code=1100-1,1107-1",
    "category, newest first": "Observation?category=laboratory&_sort=-date&_count=20",
    "status and authored range": "ServiceRequest?status=active&authored=ge2024-03&authored=lt2024-06&_count=20",
    "status, newest first": "ServiceRequest?status=active&_sort=-authored&_count=20",
    "status, changed since": "ServiceRequest?status=active&_lastUpdated=ge{stored}&_sort=_lastUpdated&_count=20",
    "compartment": "Patient/p{n}/Observation?status=final",
    "chain": "Observation?patient.identifier=urn:bench:mrn|M{n}",
    "chain by name and birth date": "Observation?patient.family={family}&patient.birthdate={born}",
    "_has": "Patient?_has:Observation:patient:code=1007-1&identifier=M{n}",
    "_has, birth date": "Patient?_has:ServiceRequest:patient:status=active&birthdate={born}",
    "_revinclude": "Patient?_id=p{n}&_revinclude=Observation:patient",
    "newest of all": "Patient?_sort=-_lastUpdated&_count=10",
    "nothing found": "Patient?family=nobody",
}


def _name(rng: random.Random, most: int) -> str:
    return "".join(rng.choice(_SOUNDS) for _ in range(rng.randint(2, most)))


def _person(number: int) -> Resource:
    rng = random.Random(number)
    return {
        "resourceType": "Patient",
        "id": f"p{number}",
        "identifier": [{"system": "urn:bench:mrn", "value": f"M{number}"}],
        "name": [{"family": _name(rng, 5), "given": [_name(rng, 3)]}],
        "gender": rng.choice(["male", "female"]),
        "birthDate": f"{rng.randint(1935, 2010)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
    }


def _observation(number: int, people: int) -> Resource:
    rng = random.Random(-number)
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "category": [{"coding": [{"system": _CATEGORIES, "code": rng.choice(["laboratory", "vital-signs", "exam"])}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": f"{rng.randint(1000, 1200)}-1"}]},
        "subject": {"reference": f"Patient/p{rng.randrange(people)}"},
        "effectiveDateTime": f"20{rng.randint(10, 25)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}T10:00:00Z",
        "valueQuantity": {"value": rng.randint(1, 200), "unit": "cm"},
    }


def _request(number: int, people: int) -> Resource:
    rng = random.Random(-number)
    return {
        "resourceType": "ServiceRequest",
        "id": f"s{number}",
        "status": rng.choices(["active", "completed", "revoked"], [30, 60, 10])[0],
        "intent": "order",
        "subject": {"reference": f"Patient/p{rng.randrange(people)}"},
        "authoredOn": f"20{rng.randint(20, 25)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
    }


def _resource(number: int, people: int) -> Resource:
    """Of nine resources three are people, five observations and one is a referral."""
    if number % 3 == 0:
        return _person(number // 3)
    return _request(number, people) if number % 9 == 8 else _observation(number, people)


def _moment(number: int) -> int:
    """When a resource was stored: one a second."""
    return _NOW + number * 1_000_000


def fill(store: DbStore, first: int, last: int) -> float:
    """Store resources ``first`` to ``last``, a third of them people; CPU microseconds of this process each."""
    spent = 0.0
    for low in range(first, last, _TOGETHER):
        drafts = [Draft(_resource(n, low // 3 + 1)) for n in range(low, min(low + _TOGETHER, last))]
        began = time.process_time()
        store.write(lambda unit, drafts=drafts, low=low: unit.resources.put_all(drafts, now_us=_moment(low)))  # type: ignore[misc]
        spent += time.process_time() - began
    return spent / (last - first) * 1e6


def _timed(work: Callable[[int], Any], people: int) -> float:
    """Median milliseconds."""
    rng = random.Random(7)
    times = []
    for _ in range(_ROUNDS):
        number = rng.randrange(people)
        began = time.perf_counter()
        work(number)
        times.append(time.perf_counter() - began)
    return median(times) * 1e3


def searched(store: DbStore, template: str, number: int) -> None:
    """One page of a search, made for the person of a number."""
    person = _person(number)
    name = person["name"][0]
    stored = datetime.fromtimestamp(_moment(number * 3) // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = template.format(
        n=number, family=name["family"], given=name["given"][0], born=person["birthDate"], stored=stored
    )
    place, _, query = text.partition("?")
    within, _, type_ = place.rpartition("/")
    with store.reading() as reading:
        search(reading.resources, parse_query(type_, parse_qsl(query), search_definitions(), within=within), None)


def read(store: DbStore, number: int) -> None:
    """One person by id."""
    with store.reading() as reading:
        reading.resources.get("Patient", f"p{number}")


def _bare_read(store: DbStore, number: int) -> None:
    with store.database.reading() as session:
        text = "SELECT body FROM resource WHERE type = 'Patient' AND key = ?"
        session.connection.execute(text, (key_of(f"Patient/p{number}"),)).fetchone()


def run() -> dict[str, Any]:
    """Figures of one run; see the module's text."""
    measured: dict[str, list[float]] = {name: [] for name in ("read", "bare read", *SEARCHES)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.db"
        store = open_store(Settings(database_url=f"sqlite:///{path}"))
        assert isinstance(store, DbStore)
        first, cost = 0, 0.0
        for size in _SIZES:
            people = size // 3
            cost = fill(store, first, size)
            first = size
            measured["read"].append(_timed(lambda n: read(store, n), people))
            measured["bare read"].append(_timed(lambda n: _bare_read(store, n), people))
            for name, template in SEARCHES.items():
                measured[name].append(_timed(lambda n, text=template: searched(store, text, n), people))  # type: ignore[misc]
        store.close()
        size_bytes = path.stat().st_size / _SIZES[-1]
    return {
        "resources": _SIZES[-1],
        "growth, 10 times as many": {name: last / first for name, (first, last) in measured.items()},
        "milliseconds, median": {name: last for name, (_, last) in measured.items()},
        "read against the bare row": measured["bare read"][1] / measured["read"][1],
        "stored, CPU microseconds each": cost,
        "bytes each, indexes and all": size_bytes,
    }

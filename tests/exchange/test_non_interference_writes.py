"""Writes over a record of which the writer sees a part: two gateways of which one withholds something answer alike.

In the one a Patient has a social security number, a race, and links of its sender and of the gateway to a record of
somebody else; in the other it never had them. A partner who sees none of it reads, changes, patches and guesses:
status, headers, bodies, versions, histories and searches are the same, and what was withheld is still there afterwards.
"""

import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway import wiring
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store
from gateway.kernel.fhir import LEVEL, JsonObject
from gateway.settings import Settings
from tests.adapters.http.conftest import Caller, Http, token_for
from tests.consent.build import actor, purposes
from tests.exchange.test_non_interference import EPOCH_US, HOSPITAL, OTHERS, _made, consent, postgres_pair  # noqa: F401
from tests.support.stores import KINDS

SSN = {"system": "http://hl7.org/fhir/sid/us-ssn", "value": "536221873"}
RACE = {
    "url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race",
    "extension": [{"url": "text", "valueString": "zq"}],
}
BASIC = {
    "type": "permit", "actor": [actor(HOSPITAL)], "purpose": purposes("TREAT"),
    "securityLabel": [{"system": LEVEL, "code": "L1"}],
}  # fmt: skip
# pretty, with a decimal and an escape, as no program of ours would write it
PLAIN = (
    '{ "resourceType": "Patient", "id": "p1",\n  "name": [ {"family": "Zqobuya", "given": ["Tend\\u0061i"]} ],\n'
    '  "birthDate": "1984-11-23", "gender": "male",\n'
    '  "identifier": [ {"system": "urn:mrn", "value": "1"}, {"system": "urn:mrn", "value": "2"} ] %s}'
)


def patient(more: bool) -> bytes:
    """What the source sent: with or without what is withheld."""
    text = PLAIN % ""
    if not more:
        return text.encode()
    first, rest = text.split(', {"system": "urn:mrn", "value": "2"}')
    text = f'{first}, {orjson.dumps(SSN).decode()}, {{"system": "urn:mrn", "value": "2"}}{rest}'
    added = {"extension": [RACE], "link": [{"other": {"reference": "Patient/p8"}, "type": "refer"}]}
    return (text[:-1] + "," + orjson.dumps(added).decode()[1:]).encode()


LANGUAGE = b'[{"op":"add","path":"/language","value":"en"}]'


@dataclass
class Pair:
    """Two gateways: ``more`` withholds something."""

    less: Caller
    more: Caller
    stores: tuple[Store, Store]

    def stored(self) -> JsonObject:
        """The Patient as it lies in ``more``."""
        with self.stores[1].reading() as reading:
            found = reading.resources.get("Patient", "p1")
        assert found is not None
        resource: JsonObject = orjson.loads(found.body)
        return resource


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    """Two stores of one kind behind two applications."""
    stores = [_made(request, str(request.param), tmp_path, name) for name in ("less", "more")]
    https, builts = [], []
    for index, store in enumerate(stores):
        store.write(lambda unit: unit.clients.keep_secret("cursor", bytes(32)))
        builts.append(wiring.build_app(Settings(data_folder=str(tmp_path)), store))
        bodies = [
            patient(bool(index)),
            *map(orjson.dumps, (consent(1, BASIC), {"resourceType": "Organization", "id": "h"})),
        ]
        if index:  # the same person elsewhere: linked, and closed to the asker
            other = orjson.loads(patient(True)) | {"id": "p8", "link": []}
            del other["link"]
            bodies += [orjson.dumps(other), orjson.dumps(consent(8, OTHERS))]
        saver = wiring.saver(Settings())
        for number, body in enumerate(bodies):
            draft = Draft(orjson.loads(body), body, source="elsewhere" if number > 2 else "import")
            store.write(partial(_save, saver, draft, EPOCH_US + number))
        https.append(Http(builts[-1].app))
    callers = [Caller(http, token_for(store, "ehr", HOSPITAL)) for http, store in zip(https, stores, strict=True)]
    yield Pair(callers[0], callers[1], (stores[0], stores[1]))
    for http, built in zip(https, builts, strict=True):
        http.close()
        built.executor.shutdown()
    for store in stores:
        store.close()


def _save(saver: Any, draft: Draft, at: int, unit: Any) -> None:
    saver.save(unit, [draft], now_us=at)


_INSTANT = re.compile(rb'\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+]00:00)|_cursor=[^"&]*')


def asked(pair: Pair, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    """What both answer; they must be one."""
    said = []
    for caller in (pair.less, pair.more):
        answer = caller(method, path, body, X_Request_Id="r-1", **headers)
        kept = {k: v for k, v in answer.headers.items() if k.lower() not in ("date", "last-modified")}
        said.append((answer.status_code, kept, _INSTANT.sub(b"", answer.content)))
    assert said[0] == said[1], (method, path, body, headers)
    return said[0][0], said[0][2]


LOOKS = (
    "/Patient/p1", "/Patient/p1/_history", "/Patient/p1/_history/1", "/Patient/p1/_history/2", "/Patient?gender=male",
    "/Patient?identifier=http://hl7.org/fhir/sid/us-ssn|536221873&_total=accurate", "/Patient?_sort=identifier",
    "/Patient?identifier=http://hl7.org/fhir/sid/us-ssn|", "/Patient?link:missing=false", "/Patient?_sort=-link",
    "/Patient/p1/$everything?_type=Patient", "/Patient?identifier=urn:mrn|1&_elements=identifier,extension",
    "/Patient?_has:Patient:link:_id=p8", "/Patient?_total=accurate&_count=1", "/Patient?_revinclude=Patient:link",
)  # fmt: skip


def drawn(rng: random.Random, shown: bytes) -> tuple[str, str, Any, dict[str, str]]:
    """A write over the Patient: (method, path, body, headers)."""
    text = shown.decode()
    resource = orjson.loads(shown)
    resource.pop("meta")
    change = rng.choice(("same", "more", "guess", "race", "fewer", "none", "pretty", "link", "language"))
    if change == "more":
        resource.setdefault("identifier", []).append({"system": "urn:mrn", "value": str(rng.randrange(9))})
    elif change == "guess":
        resource.setdefault("identifier", []).insert(0, SSN)
    elif change == "race":
        resource["extension"] = [RACE]
    elif change == "fewer":
        resource["identifier"] = resource.get("identifier", [{"system": "urn:mrn", "value": "3"}])[:1]
    elif change == "none":
        resource.pop("identifier", None)
    elif change == "link":
        resource["link"] = [{"other": {"reference": "Patient/p9"}, "type": "refer"}]
    elif change == "language":
        resource["language"] = rng.choice(("en", "fr"))
    if change not in ("same", "pretty"):
        text = orjson.dumps(resource).decode()
    elif change == "pretty":
        text = orjson.dumps(resource, option=orjson.OPT_INDENT_2).decode()
    headers = {"If_Match": f'W/"{rng.randrange(1, 9)}"'} if rng.random() < 0.1 else {}
    roll = rng.random()
    if roll < 0.5:
        return "PUT", "/Patient/p1", text, headers
    if roll < 0.6:
        return "PUT", "/Patient?identifier=urn:mrn|1", text, headers
    if roll < 0.75:
        entry = {"resource": orjson.loads(text), "request": {"method": "PUT", "url": "Patient/p1"}}
        return "POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}, {}
    operations = [
        [{"op": "replace", "path": "/gender", "value": rng.choice(("male", "other"))}],
        [{"op": "add", "path": "/identifier/-", "value": SSN}],
        [{"op": "remove", "path": "/identifier/1"}],
        [{"op": "remove", "path": "/extension"}],
        [{"op": "test", "path": "/extension", "value": [RACE]}],
    ]
    return "PATCH", "/Patient/p1", orjson.dumps(rng.choice(operations)), {"Content_Type": "application/json-patch+json"}


def test_writes_over_a_part_are_answered_as_if_it_were_the_whole(pair: Pair) -> None:
    rng = random.Random(int(os.environ.get("DOORWAY_NON_INTERFERENCE_SEED", "3")))
    for path in LOOKS:
        asked(pair, "GET", path)
    statuses = []
    for _ in range(int(os.environ.get("DOORWAY_NON_INTERFERENCE_WRITES", "12"))):
        _, shown = asked(pair, "GET", "/Patient/p1")
        method, path, body, headers = drawn(rng, shown)
        status, told = asked(pair, method, path, body, **headers)
        statuses.append(status)
        assert b"536221873" not in told
        for look in rng.sample(LOOKS, 2):
            asked(pair, "GET", look)
        kept = pair.stored()
        assert SSN in kept["identifier"]
        assert RACE in kept["extension"]
        assert "Patient/p8" in {one["other"]["reference"] for one in kept["link"]}
    assert statuses.count(200) > 6
    assert not {403, 404, 500} & set(statuses)


def test_the_version_moves_when_he_said_something_else_and_only_then(pair: Pair) -> None:
    _, shown = asked(pair, "GET", "/Patient/p1")
    unchanged = shown.replace(b'"lastUpdated":""', b'"lastUpdated":"2026-01-01T00:00:00Z"')
    for _ in range(2):
        asked(pair, "PUT", "/Patient/p1", unchanged)
        assert pair.stored()["meta"]["versionId"] == "1"
    guess = orjson.loads(unchanged)
    guess["extension"] = [RACE]
    asked(pair, "PUT", "/Patient/p1", guess)
    assert pair.stored()["meta"]["versionId"] == "2"
    asked(pair, "PUT", "/Patient/p1", guess)
    assert pair.stored()["meta"]["versionId"] == "3"  # he does not see that he said it before


def test_who_has_written_sees_no_more_than_before_and_the_owner_sees_it_all(pair: Pair) -> None:
    status, _ = asked(pair, "PATCH", "/Patient/p1", LANGUAGE, Content_Type="application/json-patch+json")
    assert status == 200
    assert b'"language":"en"' in asked(pair, "GET", "/Patient/p1")[1]
    with pair.stores[1].reading() as reading:
        (signed,) = reading.resources.consents(["Patient/p1"])
    gone = orjson.loads(signed.body) | {"status": "inactive"}
    for store in pair.stores:
        store.write(partial(_save, wiring.saver(Settings()), Draft(gone, source="import"), EPOCH_US + 99))
    assert asked(pair, "GET", "/Patient/p1")[0] == 404
    mine = pair.more.create({"resourceType": "Patient", "name": [{"family": "Zqown"}], "identifier": [SSN]})
    pair.more("PUT", f"/Patient/{mine['id']}", {**mine, "gender": "male"})
    assert pair.more("GET", f"/Patient/{mine['id']}").json()["identifier"] == [SSN]


GUESS = "identifier=http://hl7.org/fhir/sid/us-ssn|536221873"


def test_conditions_on_what_is_withheld_are_met_by_nobody(pair: Pair) -> None:
    """A conditional create, update, patch and delete by a hidden number: as if nobody had it."""
    fresh = {"resourceType": "Patient", "name": [{"family": "Zqfresh"}]}
    said = [caller("POST", "/Patient", fresh, If_None_Exist=GUESS).status_code for caller in (pair.less, pair.more)]
    assert said == [201, 201]
    asked(pair, "PATCH", f"/Patient?{GUESS}", LANGUAGE, Content_Type="application/json-patch+json")
    asked(pair, "DELETE", f"/Patient?{GUESS}")
    said = [caller("PUT", f"/Patient?{GUESS}", fresh).status_code for caller in (pair.less, pair.more)]
    assert said == [201, 201]
    assert pair.stored()["meta"]["versionId"] == "1"
    number = "http://hl7.org/fhir/sid/us-ssn%7C536221873"
    asked(pair, "GET", f"/Patient/$ihe-pix?sourceIdentifier={number}")
    asked(pair, "GET", "/Patient/$ihe-pix?sourceIdentifier=urn:mrn%7C1")


@pytest.mark.parametrize("identifier", [[], [SSN], [SSN | {"value": "536221874"}]])
def test_a_match_is_graded_by_what_the_asker_sees(pair: Pair, identifier: list[JsonObject]) -> None:
    """A number that is withheld neither raises nor lowers a grade: a right guess is answered like a wrong one."""
    wanted = {
        "resourceType": "Patient", "name": [{"family": "Zqobuya", "given": ["Tendai"]}], "birthDate": "1984-11-23",
        "gender": "male", "identifier": identifier, "telecom": [{"system": "phone", "value": "555-0134"}],
    }  # fmt: skip
    if not identifier:
        del wanted["identifier"]
    body = {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": wanted}]}
    status, told = asked(pair, "POST", "/Patient/$match", body)
    assert status == 200
    assert b"Tend" in told
    assert b"536221873" not in told

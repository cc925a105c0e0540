"""A request made ready once is what it would be made ready anew, whatever changes meanwhile."""

from dataclasses import replace
from datetime import timedelta

import orjson

from gateway.consent.asked import ask
from gateway.consent.askers import Askers
from gateway.consent.request import AccessRequest, Actor
from gateway.kernel.fhir import JsonObject
from tests.consent.build import NOW, words

HOSPITAL = "Organization/h"
PLAIN: JsonObject = {"resourceType": "Organization", "id": "h"}
WARD: JsonObject = PLAIN | {"partOf": {"reference": "Organization/above"}}
ABOVE: JsonObject = {"resourceType": "Organization", "id": "above", "identifier": [{"system": "urn:x", "value": "1"}]}


def test_what_is_remembered_is_what_would_be_made_ready_anew() -> None:
    askers, request = Askers(), AccessRequest.of_organization(HOSPITAL, now=NOW)
    worker = {"resourceType": "PractitionerRole", "id": "r", "practitioner": {"reference": "Practitioner/w"}}
    period = {"period": {"end": "2026-06-01"}, "organization": {"reference": HOSPITAL}}
    person = replace(request, actors=(Actor("Practitioner/w"),))
    for asking in (request, replace(request, purposes=("BTG",)), replace(request, action="correct"), person):
        for related in ([PLAIN], [WARD, ABOVE], [PLAIN, worker | period]):
            for later in (timedelta(), timedelta(days=2)):
                for verified in (False, True):
                    now = replace(asking, now=NOW + later)
                    bodies = [orjson.dumps(one) for one in related]
                    told = askers.ask(now, words(), related, bodies, verified=verified)
                    assert told == ask(now, words(), related, verified=verified)
    assert askers.ask(request, words(), [WARD, ABOVE], [b"a"], verified=False).keys > {HOSPITAL, "urn:x|1"}

"""Hostile input on every door of the API: always answered, never a 5xx, never a value in the answer; kill -9."""

import gzip
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import wiring
from gateway.adapters.db.store import DbStore
from gateway.exchange.clients import issue, register
from gateway.settings import Settings
from tests.adapters.http.conftest import World
from tests.adapters.http.test_bundles import bundle, entry, patient

NAMES = [
    "Patient",
    "Bundle",
    "Consent",
    "Task",
    "Observation",
    "Parameters",
    "Zq",
    "metadata",
    "_history",
    "_search",
    "1",
    "$everything",
    "$match",
    "$validate",
    "$export",
    "_export",
    "*",
    "%00",
    "..",
    "é",
    "",
]
QUERIES = [
    "_id",
    "_sort",
    "_count",
    "_include",
    "_has:Observation:patient:code",
    "subject.name",
    "name:exact",
    "birthdate",
    "_cursor",
    "_elements",
    "_summary",
    "identifier",
    "_format",
    "_since",
    "_total",
    "code-value-quantity",
    "_type",
    "zq",
]
VALUES = [
    "",
    "zq",
    "a|b",
    "|",
    "ge2020",
    "1.5e9",
    "Patient/1",
    "*",
    "true",
    "\x00",
    "'; DROP TABLE resource;--",
    "%",
    "$",
    "\\",
    "𝒜",
    "-1",
    "9" * 30,
    "Patient:x:y:z",
]
leaf = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.sampled_from(VALUES) | st.floats(allow_nan=False)
trees = st.recursive(
    leaf,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "resourceType",
                    "id",
                    "meta",
                    "name",
                    "entry",
                    "request",
                    "resource",
                    "type",
                    "url",
                    "method",
                    "parameter",
                    "part",
                    "extension",
                    "contained",
                    "reference",
                    "subject",
                    "value",
                    "op",
                    "path",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "TRACE"]),
    path=st.lists(st.sampled_from(NAMES), max_size=4),
    query=st.lists(st.tuples(st.sampled_from(QUERIES), st.sampled_from(VALUES)), max_size=3),
    body=st.none() | trees,
    kind=st.sampled_from(
        [
            "application/fhir+json",
            "application/json-patch+json",
            "application/fhir+xml",
            "application/x-www-form-urlencoded",
            "zq",
        ]
    ),
    header=st.sampled_from(["If-Match", "If-None-Match", "If-None-Exist", "If-Modified-Since", "Prefer", "Accept"]),
    value=st.sampled_from(
        [
            "zq",
            'W/"1"',
            "*",
            "identifier=a|b",
            "return=minimal",
            "respond-async",
            "handling=strict",
            "application/fhir+xml",
            "q=;;=,",
        ]
    ),
)
def test_whatever_is_sent_is_answered_in_fhir_and_never_a_fault_of_ours(
    small: World,
    method: str,
    path: list[str],
    query: list[tuple[str, str]],
    body: Any,
    kind: str,
    header: str,
    value: str,
) -> None:
    url = "/fhir/" + "/".join(path)
    content = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {small.ehr.token}", header: value, "Content-Type": kind}
    answer = small.http.request(method, url, params=query, content=content, headers=headers)
    assert answer.status_code < 500, (url, answer.text)
    if answer.status_code >= 400 and method != "HEAD":
        assert "OperationOutcome" in answer.text
        assert "DROP TABLE" not in answer.text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(trees, max_size=3), st.sampled_from(["batch", "transaction"]))
def test_bundles_of_anything_are_answered(small: World, entries: list[Any], kind: str) -> None:
    answer = small.ehr("POST", "/", json.dumps({"resourceType": "Bundle", "type": kind, "entry": entries}))
    assert answer.status_code < 500, answer.text


@pytest.mark.exam
def test_kill_9_during_transactions_leaves_whole_bundles_only(tmp_path: Path, sqlite_store: DbStore) -> None:
    database = tmp_path / "killed.db"
    settings = Settings(database_url=f"sqlite:///{database}")
    store = wiring.open_store(settings)
    now = wiring.now_us()
    store.write(
        lambda u: register(u.clients, "ehr", organization="Organization/h", scopes=["system/*.cruds"], now_us=now)
    )
    store.write(lambda u: issue(u.clients, "ehr", "words", now_us=now, lifetime_s=3600))
    store.close()
    command = [
        sys.executable,
        "-m",
        "gateway",
        "serve",
        "--database",
        settings.database_url,
        "--http",
        "127.0.0.1:0",
        "--mllp",
        "127.0.0.1:0",
        "--json",
    ]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    base = json.loads(process.stdout.readline())["fhir"]
    acknowledged: list[int] = []

    def send(number: int) -> None:
        observation = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}
        entries = [entry("POST", "Patient", patient(f"k{number}"))]
        entries += [
            entry("POST", "Observation", {**observation, "identifier": [{"value": f"k{number}"}]}) for _ in range(5)
        ]
        try:
            answer = httpx.post(
                base,
                json=bundle(*entries),
                headers={"Authorization": "Bearer words", "Content-Type": "application/fhir+json"},
            )
        except httpx.HTTPError:
            return
        if answer.status_code == 200:
            acknowledged.append(number)
            if len(acknowledged) == 6:
                os.kill(process.pid, signal.SIGKILL)

    def lane(first: int) -> None:
        for number in range(first, first + 8):
            send(number)

    threads = [threading.Thread(target=lane, args=(first,)) for first in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    process.kill()
    process.wait()
    process.stdout.close()
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT type, body FROM resource WHERE type IN ('Patient', 'Observation')").fetchall()
    connection.close()
    found: dict[str, list[str]] = {}
    for type_, body in rows:
        found.setdefault(json.loads(body)["identifier"][0]["value"], []).append(type_)
    assert all(sorted(types) == ["Observation"] * 5 + ["Patient"] for types in found.values())
    assert {f"k{number}" for number in acknowledged} <= set(found)


def test_a_packed_body_is_unpacked_within_the_limit_and_another_packing_is_named(world: World) -> None:
    text = b'{"resourceType":"Patient","name":[{"family":"Zq"}]}'

    def sent(content: bytes, coding: str) -> httpx.Response:
        return world.ehr("POST", "/Patient", content, Content_Encoding=coding)

    assert sent(gzip.compress(text), "gzip").json()["name"] == [{"family": "Zq"}]
    assert sent(gzip.compress(text[:20]) + gzip.compress(text[20:]), "x-gzip").status_code == 201
    assert sent(text, "identity").status_code == 201
    assert sent(gzip.compress(b" " * 40_000_000), "gzip").status_code == 413
    for wrong in (text, gzip.compress(text)[:-9], gzip.compress(text) + b"more"):
        refused = sent(wrong, "gzip")
        assert (refused.status_code, refused.json()["issue"][0]["expression"]) == (400, ["body"])
    other = sent(text, "br")
    assert (other.status_code, other.headers["accept-encoding"]) == (415, "gzip")


@pytest.mark.parametrize("host", ['evil"x', "a b", "a/b", "a, b", ""])
def test_a_host_that_is_none_is_refused_before_links_are_made_from_it(world: World, host: str) -> None:
    refused = world.ehr("GET", "/Patient", Host=host)
    assert (refused.status_code, refused.json()["issue"][0]["expression"]) == (400, ["Host"])
    for good in ("gateway.test:8080", "[::1]:80", "10.0.0.1"):
        links = world.ehr("GET", "/Patient?_count=1", Host=good).json()["link"]
        assert links[0]["url"].startswith(f"http://{good}/fhir/")

"""``doorway consent …`` as people run it: over standard input, over files, over a store."""

import json
from pathlib import Path
from typing import Any

import orjson
from click.testing import CliRunner, Result

from gateway import wiring
from gateway.commands.consent import consent as command
from gateway.consent.request import AccessRequest
from gateway.exchange.agreements import agree
from gateway.exchange.audit_event import audit_event
from gateway.kernel.fhir import LEVEL, JsonObject
from gateway.settings import Settings
from tests.consent.build import NOW, actor, consent, labels, line, observation

PERMIT: JsonObject = {"type": "permit", "actor": [actor("Organization/h")], "period": {"end": "2026-06-30"}}
AT = ["--now", "2026-06-01T12:00:00Z"]


def run(*arguments: str, **more: Any) -> Result:
    return CliRunner().invoke(command, list(arguments), **more)


def lines(result: Result) -> list[Any]:
    return [json.loads(one) for one in result.stdout.splitlines()]


def written(folder: Path, *resources: JsonObject, name: str = "in.ndjson") -> str:
    path = folder / name
    path.write_bytes(b"\n".join(orjson.dumps(one) for one in resources))
    return str(path)


def client() -> list[JsonObject]:
    basic = {"system": LEVEL, "code": "L1"}
    deep = {"system": LEVEL, "code": "L3"}
    return [
        {"resourceType": "Patient", "id": "p", "name": [{"family": "Zq"}], "meta": {"security": [basic, *labels("N")]}},
        observation("o", meta={"security": [deep, *labels("R", "SDV")]}),
        {"resourceType": "Organization", "id": "x"},
        consent(PERMIT | {"provision": [{"type": "deny", "securityLabel": labels("SDV")}]}),
    ]


def test_decide_answers_each_line_in_order_and_bad_ones_with_an_error() -> None:
    questions = [
        json.dumps(line([consent({"type": "permit"})])),
        "{nonsense",
        "",
        json.dumps({"id": "no-instant"}),
        "7",
        json.dumps(line([consent({"type": "deny"})], id="twice")).replace('"deny"', '"deny", "type": "permit"'),
        json.dumps(line([], id="not a number")).replace('"TREAT"', "NaN"),
        '{"id":"deep","now":"2026-06-01T12:00:00Z","consents":[' + "[" * 2000 + "]" * 2000 + "]}",
        json.dumps(line([], id="last")),
    ]
    result = run("decide", input="\ufeff" + "\n".join(questions))
    said = lines(result)
    assert result.exit_code == 3
    assert [one["id"] for one in said] == [
        "q", None, "no-instant", None, "twice", "not a number", "deep", "last",
    ]  # fmt: skip
    assert [("error" in one) for one in said] == [False, True, True, True, True, True, True, False]
    assert said[4]["error"] == "line: a name stands twice in one object"
    assert said[6]["error"] == "line: nested too deeply"
    assert said[2]["error"].startswith("now:")
    assert run("decide", input=json.dumps(line([]))).exit_code == 0


def test_a_consent_nested_beyond_reason_denies() -> None:
    node: JsonObject = {"type": "permit"}
    for _ in range(400):
        node = {"type": "permit", "provision": [node]}
    said = lines(run("decide", input=json.dumps(line([consent(node)], [observation()]))))
    assert said[0]["resources"][0]["decision"] == "permit"
    text = '{"type":"permit","provision":[' * 4000 + "]}" * 4000
    whole = json.dumps(line([consent(None)], [observation()])).replace('"status"', f'"provision":{text},"status"', 1)
    (refused,) = lines(run("decide", input=whole))
    assert "error" in refused or refused["resources"][0]["decision"] == "deny"


def test_explain_says_why_and_what_would_have_to_differ(tmp_path: Path) -> None:
    file = written(tmp_path, *client())
    told = {one["reference"]: one for one in lines(run("explain", "--patient", "Patient/p", "--organization",
            "Organization/h", "--consents", file, "--json", *AT))}  # fmt: skip
    assert told["Patient/p"]["decision"] == "permit"
    assert told["Observation/o"]["text"] == "Consent/c denies: provision.provision[0], by securityLabel"
    assert told["Observation/o"]["would_need"] == ["Consent/c provision.provision[0]: its denial would have to end"]
    assert told["Observation/o"]["forms"] == ["Consent/c: names no form, given 2026-01-01"]
    limited = consent(PERMIT | {"securityLabel": labels("L")}, policy=[{"uri": "urn:roi"}])
    basic = written(tmp_path, *(one for one in client() if one["resourceType"] != "Consent"), limited, name="b.ndjson")
    (short, *_) = lines(run("explain", "--patient", "Patient/p", "--organization", "Organization/h", "--resource",
                            "Observation/o", "--consents", basic, "--json", *AT))  # fmt: skip
    assert short["would_need"] == ["Consent/c provision: securityLabel would have to match"]
    assert short["forms"] == ["Consent/c: policy urn:roi, given 2026-01-01"]
    asks = ["explain", "--patient", "Patient/p", "--organization", "Organization/x", "--resource", "Patient/p"]
    other = lines(run(*asks, "--consents", file, "--json", *AT))
    assert other[0]["would_need"] == ["Consent/c provision: actor would have to match"]
    assert "Zq" not in run("explain", "--patient", "Patient/p", "--consents", file, *AT).stdout


def test_who_sees_what_and_what_if(tmp_path: Path) -> None:
    file = written(tmp_path, *client())
    who = lines(run("explain", "--who", "--patient", "Patient/p", "--consents", file, "--json", *AT))[0]
    assert who["Organization/h"]["seen"] == {"L1": 1, "L3": 0, "none": 0}
    assert who["Organization/x"]["seen"] == {"L1": 0, "L3": 0, "none": 0}
    draft = written(tmp_path, consent({"type": "permit", "actor": [actor("Organization/x")]}, "new"), name="draft.json")
    said = lines(run("what-if", "--patient", "Patient/p", "--draft", draft, "--revoke", "Consent/c", "--consents", file,
                     "--json", *AT))[0]  # fmt: skip
    assert said["Organization/h"]["after"] == {"L1": 0, "L3": 0, "none": 0}
    assert said["Organization/x"]["after"] == {"L1": 1, "L3": 1, "none": 1}
    form = {"policy": [{"uri": "urn:roi"}], "organization": [{"reference": "Organization/agency"}]}
    twice = [consent(PERMIT, "first", dateTime="2025-01-01", **form), consent(PERMIT, "again", **form)]
    signed = written(
        tmp_path, *(one for one in client() if one["resourceType"] != "Consent"), *twice, name="twice.ndjson"
    )
    said = lines(run("what-if", "--patient", "Patient/p", "--revoke", "Consent/again", "--consents", signed, "--json",
                     *AT))[0]  # fmt: skip
    assert sum(said["Organization/h"]["before"].values()) > 0
    assert sum(said["Organization/h"]["after"].values()) == 0  # to revoke the later is not to go back to the first


def test_lint_and_expiring_end_with_3_when_there_is_something(tmp_path: Path) -> None:
    file = written(tmp_path, *client())
    assert run("lint", "--consents", file, *AT).exit_code == 3
    sound = written(tmp_path, consent(PERMIT, policy=[{"uri": "urn:form"}]), name="sound.json")
    assert run("lint", "--consents", sound, *AT).exit_code == 0
    soon = run("expiring", "--within", "30", "--consents", file, "--json", *AT)
    assert soon.exit_code == 3
    assert lines(soon)[0]["days"] == 29
    assert run("expiring", "--within", "10", "--consents", file, *AT).exit_code == 0


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    assert "cannot be read" in str(run("lint", "--consents", str(tmp_path / "none")).exception)


def test_the_account_tells_who_saw_what_and_as_of_looks_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'doorway.db'}"
    store = wiring.open_store(Settings(database_url=url))
    saver = wiring.saver(Settings())
    from gateway.exchange.ports.resources import Draft

    def save(*resources: JsonObject, at: int) -> None:
        store.write(lambda unit: saver.save(unit, [Draft(one) for one in resources], now_us=at))

    store.write(lambda unit: agree(unit.resources, "Organization/h", since="2020-01-01", now_us=1))
    save(client()[0], consent(PERMIT), {"resourceType": "Organization", "id": "h", "name": "Hospital"}, at=1)
    save({"resourceType": "Patient", "id": "other"}, at=2)
    save(consent(PERMIT, status="inactive"), at=1_780_000_000_000_000)
    asks = AccessRequest.of_organization("Organization/h", now=NOW)
    went = [
        "Patient/p/_history/1",
        "Observation/o/_history/1",
        "Patient/third/_history/1",
    ]  # one answer about two people
    event = audit_event(asks, "read", patients=["Patient/p", "Patient/third"], released=went, because=["Consent/c"])
    save(client()[1], at=3)
    store.write(lambda unit: unit.audit.append(event, now_us=2))
    store.close()
    said = run("account", "--patient", "Patient/p", "--database", url)
    assert said.stdout == (
        "2026-06-01 12:00  Hospital saw results and answers (1), your name and basic data (1); to help you; "
        "by your consent of 2026-01-01\n"
    )
    third = run("account", "--patient", "Patient/third", "--database", url, "--language", "fr")
    assert "a vu : votre nom et vos données de base (1); pour vous aider" in third.stdout
    assert run("account", "--patient", "Patient/q", "--database", url).exit_code == 1
    other = run("account", "--patient", "Patient/other", "--database", url, "--language", "fr")
    assert other.stdout == "rien n'a été communiqué\n"
    shown = ["explain", "--patient", "Patient/p", "--resource", "Patient/p", "--organization", "Organization/h",
             "--database", url, "--json"]  # fmt: skip
    assert lines(run(*shown, *AT))[0]["decision"] == "deny"
    assert lines(run(*shown, "--as-of", "2026-01-01T00:00:00Z"))[0]["decision"] == "permit"


def test_a_new_agency_is_weighed_before_its_agreement_is_recorded(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'doorway.db'}"
    store = wiring.open_store(Settings(database_url=url))
    from gateway.exchange.ports.resources import Draft

    drafts = [Draft(one) for one in (client()[0], consent(PERMIT))]
    store.write(lambda unit: wiring.saver(Settings()).save(unit, drafts, now_us=1))
    store.close()
    asked = ["--patient", "Patient/p", "--database", url, "--json", *AT]
    who = lines(run("explain", "--who", *asked))[0]["Organization/h"]
    assert (who["seen"]["L1"], who["agreement"]) == (0, False)
    (told,) = lines(run("what-if", "--agreement", "Organization/h", *asked))
    assert [told["Organization/h"][when]["L1"] for when in ("before", "after")] == [0, 2]
    store = wiring.open_store(Settings(database_url=url))
    with store.reading() as reading:
        assert list(reading.resources.of_type("Contract")) == []
    store.close()


def test_relabel_labels_what_a_changed_setting_tells_and_says_how_much(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'doorway.db'}"
    store = wiring.open_store(Settings(database_url=url))
    saver = wiring.saver(Settings())
    from gateway.exchange.ports.resources import Draft

    referral = {"resourceType": "ServiceRequest", "id": "s", "status": "active", "intent": "order",
                "subject": {"reference": "Patient/p"}, "requester": {"reference": "Organization/dv"}}  # fmt: skip
    store.write(lambda unit: saver.save(unit, [Draft(client()[0]), Draft(referral)], now_us=1))
    store.close()
    config = tmp_path / "doorway.toml"
    config.write_text('[organization_labels]\n"Organization/dv" = ["VIO"]\n')
    assert lines(run("relabel", "--database", url, "--json")) == [{"seen": 2, "changed": 0}]
    again = run("relabel", "--database", url, "--config", str(config), "--type", "ServiceRequest")
    assert (again.exit_code, again.stdout) == (0, "1 records looked at, 1 labelled otherwise\n")
    assert lines(run("relabel", "--database", url, "--config", str(config), "--json"))[0]["changed"] == 0
    assert run("relabel", "--database", url, "--type", "Nothing").exit_code == 2
    assert run("relabel", "--database", url, "--after", "Patient").exit_code == 2

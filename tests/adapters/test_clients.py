"""The client registry, the same on every store."""

from gateway.exchange.ports.clients import Client, Grant
from gateway.exchange.ports.store import Store

CLIENT = Client("ehr", "Organization/h", ("system/*.rs",), ("sys|code",), ("TREAT", "ETREAT"), '{"keys":[]}', b"d", 5)


def test_a_registration_comes_back_as_it_was_and_can_be_replaced(store: Store) -> None:
    store.write(lambda unit: unit.clients.put(CLIENT))
    store.write(lambda unit: unit.clients.put(Client("a", "Organization/a", ("system/Patient.r",))))
    with store.reading() as reading:
        assert reading.clients.get("ehr") == CLIENT
        assert reading.clients.get("other") is None
        assert [one.name for one in reading.clients.all()] == ["a", "ehr"]
    store.write(lambda unit: unit.clients.put(Client("ehr", "Organization/x", ("system/Patient.r",), revoked_us=9)))
    with store.reading() as reading:
        found = reading.clients.get("ehr")
        assert found is not None
        assert (found.organization, found.revoked_us) == ("Organization/x", 9)


def test_a_token_is_found_by_its_digest_until_it_is_withdrawn(store: Store) -> None:
    grant = Grant("ehr", ("system/Patient.r",), ("TREAT",), 100)
    store.write(lambda unit: unit.clients.issue(b"digest", grant))
    with store.reading() as reading:
        assert reading.clients.grant(b"digest") == grant
        assert reading.clients.grant(b"other") is None
    assert store.write(lambda unit: unit.clients.withdraw("ehr")) == 1
    with store.reading() as reading:
        assert reading.clients.grant(b"digest") is None


def test_an_assertion_can_be_used_once_until_it_has_expired(store: Store) -> None:
    def use(now_us: int, client: str = "ehr") -> bool:
        return store.write(
            lambda unit: unit.clients.use_assertion(client, b"jti", expires_us=now_us + 10, now_us=now_us)
        )

    assert [use(1), use(2), use(3, "other"), use(50)] == [True, False, True, True]
    with store.reading() as reading:
        assert reading.clients.used("ehr", b"jti")
        assert not reading.clients.used("ehr", b"other")


def test_the_first_secret_of_a_name_stays(store: Store) -> None:
    assert store.write(lambda unit: unit.clients.keep_secret("cursor", b"a")) == b"a"
    assert store.write(lambda unit: unit.clients.keep_secret("cursor", b"b")) == b"a"
    with store.reading() as reading:
        assert reading.clients.secret("cursor") == b"a"
        assert reading.clients.secret("none") is None

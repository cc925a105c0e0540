"""Values are standardised without inventing or losing anything."""

from dataclasses import FrozenInstanceError, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.files.linkage import default_reader
from gateway.linkage.blocking import key_hash, key_hashes
from gateway.linkage.names import Nicknames, fold, is_placeholder, sound, surname_parts
from gateway.linkage.traits import (
    COLUMNS,
    Traits,
    pack,
    read_address,
    read_dob,
    read_phone,
    read_postal,
    read_ssn,
    unpack,
)
from tests.linkage.people import person


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1984-05-09", ("1984", "05", "09")),
        ("19840509", ("1984", "05", "09")),
        ("1984-05", ("1984", "05", "")),
        ("198405", ("1984", "05", "")),
        ("1984", ("1984", "", "")),
        ("1984-00-00", ("1984", "", "")),
        ("1984-5-9", ("1984", "05", "09")),
        ("5/9/1984", ("1984", "05", "09")),
        ("25/12/1984", ("1984", "12", "25")),
        ("1984-05-09T00:00:00", ("1984", "05", "09")),
        ("1984-13-41", ("1984", "13", "41")),
        ("1900-01-01", ("", "", "")),
        ("unknown", ("", "", "")),
        ("", ("", "", "")),
        ("2091-03-04", ("2091", "03", "04")),
    ],
)
def test_a_birth_date_keeps_what_is_known_and_no_more(text: str, parts: tuple[str, str, str]) -> None:
    assert read_dob(text) == parts


@pytest.mark.parametrize(
    ("text", "quality", "read"),
    [
        ("123-45-6788", "1", ("123456788", "6788")),
        ("XXXXX1234", "2", ("", "1234")),
        ("1234", "2", ("", "1234")),
        ("xxx-xx-1234", "", ("", "1234")),
        ("123456789", "", ("", "")),
        ("999999999", "", ("", "")),
        ("000123456", "", ("", "")),
        ("512345678", "9", ("", "")),
        ("5123456", "", ("5123456", "3456")),
        ("", "99", ("", "")),
        ("refused", "", ("", "")),
    ],
)
def test_a_social_security_number_is_whole_last_four_or_missing(text: str, quality: str, read: tuple[str, str]) -> None:
    assert read_ssn(text, quality) == read


def test_shelters_and_no_address_are_no_evidence() -> None:
    for text in (
        "Hope Shelter 12 Main St",
        "NFA",
        "no fixed address",
        "General Delivery",
        "Homeless",
        "Salvation Army",
    ):
        assert read_address(text) == ""
        assert person(address=text, city="Riverton", postal="12345").postal == ""
    assert read_address("12 Main Street Apt 4") == read_address("12 MAIN ST. #4")


def test_other_values_are_standardised() -> None:
    assert read_phone("+1 (403) 555-0123 ext 9") == read_phone("4035550123") == "4035550123"
    assert read_phone("000-000-0000") == read_phone("123") == ""
    assert read_postal("T2A 1b1") == "t2a1b1"
    assert read_postal("12345-6789") == "12345"
    assert read_postal("00000") == ""


def test_names_are_folded_across_alphabets_and_signs() -> None:
    assert fold("José  O’Brien-ŁUKASZ") == "jose obrien lukasz"
    assert fold("Олександр") == "oleksandr"
    assert sound("mohamed") == sound("muhammad")
    assert surname_parts("de la cruz lopez") == ("cruz", "lopez")
    assert all(is_placeholder(name) for name in ("unknown", "xxxx", "baby boy"))
    assert not is_placeholder("bo")


def test_an_unidentified_person_has_no_name() -> None:
    assert person(first="John", last="Doe").given == ""
    assert person(first="John", last="Dole").given == "john"
    assert person(first="Refused", last="Unknown").last == ""


def test_aliases_suffixes_and_titles_are_taken_apart() -> None:
    who = person(first='Robert "Buddy"', last="Smith Jr.", alias="Bob Jones; Bobby")
    assert who.suffix == "2"
    assert {"robert", "buddy", "bob", "bobby"} <= who.givens
    assert {"smith", "jones"} <= who.lasts


def test_quality_codes_mean_missing_or_soft_never_different() -> None:
    assert person(dob="1980-01-01", dob_quality="99").year == ""
    assert person(first="A", last="B", name_quality="8").given == ""
    assert person(dob="1980-01-01", dob_quality="2").soft_dob


def test_nicknames_work_both_ways() -> None:
    table = Nicknames([("william", "bill"), ("william", "liam")])
    assert table.roots("bill") & table.roots("liam") & table.roots("william")
    assert table.roots("zq") == {"zq"}
    assert person(first="Bill").roots & person(first="William").roots


@given(st.dictionaries(st.sampled_from(COLUMNS), st.text(max_size=30)))
def test_no_row_is_refused_whatever_stands_in_it(row: dict[str, str]) -> None:
    who = person(**{name: value for name, value in row.items() if name != "id"})
    assert who.month == "" or who.year != ""
    assert who.day == "" or who.month != ""


@given(st.dictionaries(st.sampled_from(COLUMNS), st.text(max_size=30)), st.frozensets(st.text(max_size=8)))
def test_what_is_packed_comes_back_but_for_marks_within(row: dict[str, str], numbers: frozenset[str]) -> None:
    read = default_reader().row({"id": "a", **row}, numbers=numbers)
    whole = Traits(**{one.name: getattr(read, one.name) for one in fields(Traits)})  # made the slow way
    assert (whole, hash(whole), repr(whole)) == (read, hash(read), repr(read))
    if "" not in numbers and not any(mark in one for mark in "\x1e\x1f" for one in (read.key, *numbers)):
        assert unpack(pack(read)) == read
    assert pack(unpack(pack(read))) == pack(read)
    with pytest.raises(FrozenInstanceError):
        read.key = "b"  # type: ignore[misc]


@given(st.lists(st.text()))
def test_keys_are_hashed_together_as_one_by_one(keys: list[str]) -> None:
    assert key_hashes(keys) == tuple(key_hash(key) for key in keys)


def test_digits_of_any_script_are_the_same_numbers() -> None:
    arabic = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
    row = {"id": "1", "dob": "1980-04-17", "ssn": "219554321", "health_no": "912345678", "phone": "403 555 0177",
           "address": "12 Cedar", "postal": "54321"}  # fmt: skip
    written = {name: value.translate(arabic) if name != "id" else value for name, value in row.items()}
    assert default_reader().row(written) == default_reader().row(row)

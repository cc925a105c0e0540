"""Keys of resources: spread evenly, and beside one another where ids were made up to begin alike."""

import random

from gateway.adapters.http.entropy import Entropy
from gateway.kernel.identifiers import beside, key_of, resource_id


def test_ids_made_up_beside_one_another_have_keys_that_lie_together() -> None:
    new = Entropy().id
    first = new()
    keys = [key_of(f"Observation/{beside(new(), first)}") for _ in range(500)]
    own = key_of(f"Observation/{first}")
    assert {key >> 47 for key in keys} == {own >> 47}
    assert len({key & ((1 << 47) - 1) for key in keys}) == 500


def test_an_id_beside_another_is_still_one_that_nobody_may_choose() -> None:
    new = Entropy().id
    first, made = new(), new()
    placed = beside(made, first)
    assert len(placed) == 36
    assert placed[14] == "8"
    assert (placed[:4], placed[4:]) == (first[:4], made[4:])


def test_every_key_has_63_bits_and_other_ids_are_spread_by_their_whole_text() -> None:
    rng = random.Random(1)
    alike = [resource_id("feed", str(number)) for number in range(200)]
    given = [f"{rng.randrange(16**8):08x}-0000-8000-8000-000000000000" for _ in range(200)]
    others = ["mrn-17", "8", "x" * 36, "ABCDABCD-0000-8000-8000-000000000000", *(f"abcd{n:04x}" for n in range(200))]
    keys = [key_of(f"Patient/{id_}") for id_ in (*alike, *given, *others)]
    assert len(set(keys)) == len(keys)
    assert all(0 <= key < 1 << 63 for key in keys)
    assert len({key >> 58 for key in keys[-200:]}) > 20  # begin alike, and are no ids of ours
    assert key_of("Patient/a") != key_of("Person/a")

"""What checking a resource costs: structure, bindings, invariants, and the profiles that it claims.

With ``--packages DIR`` the packages of a folder (``.tgz``) are added to a data folder of this run, in the order of
their names, and the resources under ``package/example`` of all but R4's own are checked; without it some synthetic
resources against what ships. Definitions are compiled in a first round that does not count. ``us`` is processor time a
resource; ``ratio`` how many times a bare parse of the same bytes (orjson) that is.
"""

import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import orjson

from gateway.bench.api import observation, patient
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import JsonObject

_ROUNDS: Final = 7
_OWN_EXAMPLES: Final = "hl7.fhir.r4.core"  # definitions themselves, in the main


def run(packages: str = "") -> dict[str, Any]:
    """Measure.

    Args:
        packages: a folder of FHIR packages; empty: none.

    Raises:
        Invalid: no package in the folder.
    """
    from gateway.adapters.files.packages import PackageFolder
    from gateway.adapters.files.validation import open_validator

    with tempfile.TemporaryDirectory(prefix="doorway-bench-") as folder:
        files = sorted(Path(packages).glob("*.tgz")) if packages else []
        if packages and not files:
            raise Invalid("no package in the folder", at="--packages", fix="name a folder of NAME-VERSION.tgz files")
        for file in files:
            PackageFolder(Path(folder)).add(file)
        bodies = [orjson.dumps(one) for one in _resources(files)]
        validator = open_validator(Path(folder))
        resources = [orjson.loads(body) for body in bodies]
        found = [validator.validate(one) for one in resources]  # and compiles every profile
        ours = _best(lambda: [validator.validate(one) for one in resources], len(bodies))
        floor = _best(lambda: [orjson.loads(body) for body in bodies], len(bodies))
        each = sorted(_best(partial(validator.validate, one), 1) for one in resources)
    return {
        "resources": len(bodies),
        "bytes": round(sum(map(len, bodies)) / len(bodies)),
        "claimed_profiles": len({url for one in resources for url in (one.get("meta") or {}).get("profile", ())}),
        "with_errors": sum(any(one.severity == "error" for one in findings) for findings in found),
        "us": ours,
        "us_median": median(each),
        "us_slowest": each[-1],
        "floor_us": floor,
        "ratio": ours / floor,
    }


def _best(work: Callable[[], object], size: int) -> float:
    """Microseconds of processor time for each of ``size``, in the best of several rounds."""
    spent = []
    for _ in range(_ROUNDS):
        began = time.process_time_ns()
        work()
        spent.append(time.process_time_ns() - began)
    return min(spent) / 1000 / size


def _resources(files: Sequence[Path]) -> list[JsonObject]:
    """The examples of the packages, or synthetic patients and measurements that claim profiles of ours."""
    found = [one for file in files if not file.name.startswith(_OWN_EXAMPLES) for one in _examples(file)]
    if files:
        return found
    vital = {"profile": ["http://hl7.org/fhir/StructureDefinition/vitalsigns"]}
    return [one for n in range(100) for one in (patient(n), {**observation(n), "meta": vital})]


def _examples(file: Path) -> Iterator[JsonObject]:
    with tarfile.open(file, "r:gz") as tar:
        for member in tar:
            content = tar.extractfile(member) if "/example" in member.name and member.name.endswith(".json") else None
            resource = orjson.loads(content.read()) if content is not None else None
            if isinstance(resource, dict) and "resourceType" in resource:
                yield resource

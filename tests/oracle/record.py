"""Our verdicts beside those of HL7's Java validator; run by hand (README.md), never by the test suite."""

import csv
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import orjson

from gateway.adapters.files.data import read_data
from gateway.adapters.files.packages import PackageFolder
from gateway.adapters.files.validation import open_validator
from gateway.kernel.fhir import JsonObject
from gateway.profiles.issues import has_errors
from gateway.profiles.validate import Validator
from tests.profiles.test_oracle import ORACLE, cases


def files(package: Path) -> Iterator[tuple[str, bytes]]:
    """The JSON files of a package."""
    with tarfile.open(package, "r:gz") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.name.endswith(".json") else None
            if content is not None:
                yield member.name, content.read()


def examples(package: Path) -> Iterator[tuple[str, JsonObject]]:
    """The example resources of a package, or of an archive that holds nothing else."""
    for name, data in files(package):
        if "/example/" in name or "spec-examples" in package.name:
            resource = orjson.loads(data)
            if isinstance(resource, dict) and "resourceType" in resource:
                yield f"{package.stem}:{Path(name).name}", resource


def theirs(java: list[str], packages: list[Path], asked: dict[str, JsonObject]) -> dict[str, tuple[int, str]]:
    """By case: how many errors the Java validator finds, and the first of them."""
    with ExitStack() as stack:
        folders = []
        for package in packages:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            for name, data in files(package):
                if "/example/" not in name:
                    (Path(folder) / Path(name).name).write_bytes(data)
            folders.append(folder)
        lines = "".join(f"{name}\t{orjson.dumps(one).decode()}\n" for name, one in asked.items())
        done = subprocess.run([*java, *folders], input=lines, capture_output=True, text=True, check=True)
    found = {}
    for line in done.stdout.splitlines():
        name, count, first = line.split("\t", 2)
        found[name] = (int(count), first)
    return found


def main() -> None:
    """``python -m tests.oracle.record CLASSPATH [PACKAGE.tgz …]``; without packages the vectors are written anew."""
    classpath, packages = sys.argv[1], [Path(one) for one in sys.argv[2:]]
    java = ["java", "-cp", classpath, "org.doorway.oracle.Oracle"]
    if not packages:
        said = theirs(java, [], dict(cases()))
        with ORACLE.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([("case", "errors"), *((name, count) for name, (count, _) in said.items())])
        print(f"{len(said)} verdicts written to {ORACLE}")
        return
    asked = {name: one for package in packages for name, one in examples(package)}
    said = theirs(java, [one for one in packages if "spec-examples" not in one.name], asked)
    with tempfile.TemporaryDirectory() as folder:
        loaded = PackageFolder(Path(folder))
        for package in packages:
            if "spec-examples" not in package.name:
                loaded.add(package)
        validator = open_validator(Path(folder)) if loaded.packages() else Validator(read_data)
        differ = 0
        for name, resource in asked.items():
            issues = validator.validate(resource)
            count, first = said[name]
            if has_errors(issues) != (count > 0):
                differ += 1
                ours = next((f"{i.expression}: {i.diagnostics}" for i in issues if i.severity == "error"), "")
                print(f"{name}\n  HL7: {count} {first[:300]}\n  ours: {ours[:300]}")
    print(f"{len(asked)} examples, {sum(1 for c, _ in said.values() if c)} refused by HL7's, {differ} disagreements")


if __name__ == "__main__":
    main()

"""Build hook: the wheel depends on what requirements/runtime.in names, at the versions that runtime.txt pins."""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class CustomMetadataHook(MetadataHookInterface):
    """Reads the pinned versions of the direct dependencies."""

    def update(self, metadata: dict) -> None:
        folder = Path(self.root, "requirements")
        pinned = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", folder.joinpath("runtime.txt").read_text(), re.M))
        wanted = []
        for line in folder.joinpath("runtime.in").read_text().splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            requirement, _, marker = line.partition(";")
            name, _, _ = requirement.partition("==")
            base = name.strip().split("[")[0].replace(".", "-").lower()
            wanted.append(f"{name.strip()}=={pinned[base]}" + (f" ;{marker}" if marker else ""))
        metadata["dependencies"] = wanted

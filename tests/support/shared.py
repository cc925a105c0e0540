"""Where the shared reference material lies, on machines that have it; tests outside tests/conformance never use it."""

import os
from pathlib import Path

_BESIDE = Path(os.environ.get("DOORWAY_SHARED", Path(__file__).resolve().parents[3] / "shared"))
SHARED: Path | None = _BESIDE if _BESIDE.joinpath("samples").is_dir() else None

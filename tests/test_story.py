"""The main job end to end: an export, a live feed, links, consent, a referral; on both databases."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_demo_ends_as_its_truth_file_says(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    database = ["--database", request.getfixturevalue("postgres_url")] if kind == "postgres" else []
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "demo", "--json", "--people", "30", *database],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert [fact for fact in told["facts"] if not fact["holds"]] == []
    assert len(told["facts"]) >= 15
    assert done.returncode == 0

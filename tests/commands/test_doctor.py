"""The doctor names what is wrong and what to do, and exits 3 only when something is."""

import json
from pathlib import Path

from click.testing import CliRunner

from gateway.adapters.db.engine import Database
from gateway.commands.tree import cli


def told(*arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    done = CliRunner().invoke(cli, ["doctor", "--json", *arguments])
    assert done.output.startswith("["), done.output
    return done.exit_code, {finding["check"]: finding for finding in json.loads(done.output)}


def test_a_new_installation_is_well(tmp_path: Path) -> None:
    code, found = told("--database", f"sqlite:///{tmp_path / 'new.db'}")
    assert {name: finding["verdict"] for name, finding in found.items() if name not in {"disk", "fsync"}} == {
        "python": "ok",
        "clock": "ok",
        "database": "ok",
        "mappings": "ok",
        "secrets": "ok",
    }
    assert code in {0, 3}  # 3 only where the disk of the machine is full or slow


def test_an_old_schema_and_an_open_file_are_named_with_their_mend(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    path.touch(mode=0o644)
    path.chmod(0o644)
    code, found = told("--database", f"sqlite:///{path}")
    assert code == 3
    assert found["database"]["verdict"] == "warning"
    assert found["database"]["fix"] == "doorway db upgrade"
    assert found["secrets"]["fix"].startswith("chmod 600")


def test_an_unreachable_database_and_an_unknown_zone_fail(tmp_path: Path) -> None:
    config = tmp_path / "doorway.toml"
    config.write_text('time_zone = "Mars/Olympus"\n')
    code, found = told("--database", "postgresql://nobody@127.0.0.1:1/none", "--config", str(config))
    assert code == 3
    assert found["database"]["verdict"] == "failed"
    assert found["clock"]["verdict"] == "failed"
    assert "nobody" not in json.dumps(found["database"])


def test_a_database_that_the_gateway_makes_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "made.db"
    Database(f"sqlite:///{path}").connect().connection.close()
    assert path.stat().st_mode & 0o777 == 0o600

"""``doorway link``: the commands on real files and a real store."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.bench._communities import Row, county
from gateway.commands.link import link
from gateway.kernel.errors import DoorwayError, Invalid
from gateway.settings import read_settings
from gateway.wiring import open_store
from tests.exchange.test_link import THIN, patient, save


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(link, list(arguments), catch_exceptions=True)
    if isinstance(done.exception, DoorwayError):
        raise done.exception
    return done.exit_code, done.stdout


def test_two_files_have_headings_of_their_own_and_a_turned_truth_says_so(
    files: tuple[str, str, str], tmp_path: Path
) -> None:
    def renumbered(file: str, id_: str) -> tuple[str, dict[str, str]]:
        rows = list(csv.DictReader(Path(file).read_text(encoding="utf-8").splitlines()))[:120]
        numbers = {row["id"]: str(n) for n, row in enumerate(rows)}
        mine = [{id_: numbers[row["id"]], f"{id_}_first": row["first"]} | row for row in rows]
        named = [{name: value for name, value in row.items() if name not in {"id", "first"}} for row in mine]
        return write(tmp_path / f"{id_}.csv", named), numbers

    (left, of_left), (right, of_right) = renumbered(files[0], "PersonalID"), renumbered(files[1], "MRN")
    pairs = [line.split(",") for line in Path(files[2]).read_text(encoding="utf-8").splitlines()[1:]]
    known = [(of_left[x], of_right[y]) for x, y in pairs if x in of_left and y in of_right]
    asked = "id=PersonalID,id=MRN,first=PersonalID_first,first=MRN_first"
    found = []
    for heading, turn in (("left_id,right_id", 1), ("right_id,left_id", -1)):
        truth = tmp_path / f"{turn}.csv"
        truth.write_text(heading + "\n" + "".join(",".join(pair[::turn]) + "\n" for pair in known))
        code, printed = run("evaluate", left, right, "--columns", asked, "--truth", str(truth), "--json")
        found.append((code, json.loads(printed)["certain_probable"]))
    assert found[0] == found[1]
    assert found[0][1]["recall"] > 0.8
    with pytest.raises(Invalid, match="no such column"):
        run("evaluate", left, right, "--columns", f"{asked},last=nachname")


def write(file: Path, rows: list[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)
    return str(file)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    folder = tmp_path_factory.mktemp("people")
    community = county(7, 300, 300)
    truth = folder / "pairs.csv"
    truth.write_text("left,right\n" + "".join(f"{x},{y}\n" for x, y in sorted(community.truth)))
    return write(folder / "left.csv", community.left), write(folder / "right.csv", community.right), str(truth)


@pytest.mark.parametrize("extra", [(), ("--stream",), ("--no-fit",)])
def test_evaluate_prints_what_it_promises(files: tuple[str, str, str], extra: tuple[str, ...], tmp_path: Path) -> None:
    left, right, truth = files
    out = tmp_path / "scored.csv"
    code, printed = run("evaluate", left, right, "--truth", truth, "--out", str(out), "--json", *extra)
    found: dict[str, Any] = json.loads(printed)
    assert code == 0
    assert found["certain"]["precision"] >= 0.98
    assert found["certain_probable"]["f1"] >= 0.85
    for name in (
        "best_f1", "recall_at_precision_0.99", "recall_at_precision_0.995", "blocking_recall", "candidates_per_record",
        "without_partner_linked", "queue_per_1000", "seconds", "peak_memory_mb",
    ):  # fmt: skip
        assert found[name] is not None
    assert ("latency_ms" in found) is bool(extra == ("--stream",))
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == ["left_id", "right_id", "score", "grade"]
    assert {row["grade"] for row in rows} <= {"certain", "probable", "possible"}


def test_evaluate_takes_other_headings_and_tells_what_it_does_not_know(tmp_path: Path) -> None:
    left = write(
        tmp_path / "l.csv", [{"Nr": "1", "Vorname": "Anna", "a": "12", "b": "Main St"}, {"Nr": "2", "Vorname": "Bo"}]
    )
    truth = tmp_path / "t.csv"
    truth.write_text("1,9\n")
    code, printed = run("evaluate", left, "--columns", "id=nr,first=vorname,address=a+b", "--truth", str(truth))
    assert code == 3
    assert "1 true pairs name an id that no file has" in printed
    with pytest.raises(Invalid, match="no column id"):
        run("evaluate", left)
    with pytest.raises(Invalid, match="no such column"):
        run("evaluate", left, "--columns", "id=nr,last=nachname")
    with pytest.raises(Invalid, match="unknown name"):
        run("evaluate", left, "--columns", "id=nr,zzz=nr")
    assert run("evaluate", left, "--columns", "idnr")[0] == 2
    assert run("evaluate", left, "--stream")[0] == 2


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"format": "other"}', "not a linkage model"),
        ("{", "not a linkage model"),
        ("[]", "not a linkage model"),
    ],
)
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    left = write(tmp_path / "l.csv", [{"id": "1"}])
    model = tmp_path / "m.json"
    model.write_text(text)
    with pytest.raises(Invalid, match=complaint):
        run("evaluate", left, "--model", str(model))


@pytest.mark.parametrize("command", ["evaluate", "train"])
@pytest.mark.parametrize("which", [0, 1])
def test_a_file_that_is_read_is_never_written_over(files: tuple[str, str, str], command: str, which: int) -> None:
    before = Path(files[which]).read_bytes()
    with pytest.raises(Invalid, match="is a file that is read here"):
        run(command, *files[:2], "--out", files[which])
    assert Path(files[which]).read_bytes() == before


@pytest.mark.parametrize("rows", [0, 1])
def test_nothing_is_learnt_from_fewer_records_than_a_pair(tmp_path: Path, rows: int) -> None:
    (tmp_path / "l.csv").write_text("id,last\n" + "1,Zqa\n" * rows)
    with pytest.raises(Invalid, match="too few records"):
        run("train", str(tmp_path / "l.csv"), "--out", str(tmp_path / "m.json"))
    with pytest.raises(Invalid, match="a folder that exists"):
        run("train", str(tmp_path / "l.csv"), "--out", str(tmp_path / "none" / "m.json"))
    assert not (tmp_path / "m.json").exists()


def test_an_empty_file_and_one_without_values_are_no_error(tmp_path: Path) -> None:
    left = write(tmp_path / "l.csv", [{"id": str(i)} for i in range(3)])
    code, printed = run("evaluate", left, "--json")
    assert code == 0
    assert json.loads(printed)["pairs"]["certain"] == 0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"id,first\n1,Zqa\n1,Zqb\n", r"f\.csv:3 id: this id is used twice"),
        (b"id,first\n1,Zqa\n,Zqb\n", r"f\.csv:3 id: no id"),
        (b"", r"f\.csv:1: has no column id"),
        (b"id;first\n1;Zqa\n", r"f\.csv:1: has no column id .*commas"),
        (b"id,first,last\n1,Zqa\n2,Zqb, Jr,Zqc\n", r"f\.csv:3: 4 values under 3 headings"),
        (b'id,first,last\n1,"Zqa,b\n2,Zqb,c\n', r"f\.csv:2: a quotation mark is not closed"),
        (b"id,first,First\n1,Zqa,Zqb\n", r"f\.csv:1 first: two columns have this heading"),
        (b"id,first\n1,Zqa\n2,Zq\xe9\n", r"f\.csv:3: not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_by_line_and_column(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_bytes(content)
    with pytest.raises(Invalid, match=told) as error:
        run("evaluate", str(tmp_path / "f.csv"))
    assert "zq" not in str(error.value).lower()


def test_a_byte_order_mark_another_order_and_short_rows_are_read(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_bytes(b"\xef\xbb\xbfLAST,Id,dob\r\nZqa,1,1980-01-02\r\nZqb,2\r\n,,\r\n")
    code, printed = run("evaluate", str(tmp_path / "f.csv"), "--json")
    assert (code, json.loads(printed)["left"]) == (0, 2)


def test_pairs_that_name_unknown_ids_are_a_finding_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("id,last\n1,Zqa\n2,Zqb\n")
    (tmp_path / "t.csv").write_text("left,right\n1,2\n\n1,7\n")
    asked = ("evaluate", str(tmp_path / "f.csv"), "--truth", str(tmp_path / "t.csv"))
    code, printed = run(*asked)
    assert code == 3
    assert "1 true pairs name an id that no file has (--truth lines 4)" in printed
    (tmp_path / "t.csv").write_text("2,2\n")
    with pytest.raises(Invalid, match=r"t\.csv:1: a pair of one record with itself"):
        run(*asked)
    with pytest.raises(Invalid, match=r"--out .*cannot be written"):
        run("evaluate", str(tmp_path / "f.csv"), "--out", str(tmp_path / "none" / "out.csv"))


def test_a_hashed_file_beside_a_clear_one_is_refused(tmp_path: Path) -> None:
    digest = "ab12" * 16
    hashed = write(tmp_path / "h.csv", [{"id": "1", "first": digest, "last": digest}])
    clear = write(tmp_path / "c.csv", [{"id": "1", "first": "Zqa", "last": "Zqb"}])
    with pytest.raises(Invalid, match="never compared"):
        run("evaluate", hashed, clear)
    assert run("evaluate", hashed, hashed)[0] == 0


def test_the_queue_a_decision_an_explanation_and_an_undo(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'd.db'}"
    store = open_store(read_settings(None, {}, database_url=url))
    save(store, patient("h", "hmis", **THIN), patient("m", "hospital", **THIN))
    store.close()
    code, printed = run("review", "--database", url, "--json")
    assert code == 3
    waiting = json.loads(printed)
    assert waiting["waiting"] == 1
    assert (waiting["to_review"], waiting["behind"]) == (1, 0)
    assert "zqabitha" not in printed.lower()
    assert run("review", "Patient/h", "Patient/m", "--same", "--database", url)[0] == 2
    assert run("review", "h", "m", "--same", "--by", "ann", "--why", "card", "--database", url)[0] == 0
    code, printed = run("explain", "h", "m", "--database", url)
    assert code == 0
    assert "link by ann: card" in printed
    code, printed = run("undo", "h", "m", "--by", "ben", "--why", "twins", "--database", url, "--json")
    assert json.loads(printed)["undone"]["state"] == "veto"
    code, printed = run("dedupe", "--database", url, "--json")
    assert json.loads(printed) == {"patients": 2, "linked": 0, "to_review": 0, "changed": True, "passed_over": 0}
    code, printed = run("dedupe", "--dry-run", "--database", url)
    assert "nothing was changed" in printed


def test_what_reviewers_decided_becomes_files_that_evaluate_reads(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'd.db'}"
    store = open_store(read_settings(None, {}, database_url=url))
    other = {"name": [{"family": "Zqother", "given": ["Xiomara"]}], "birthDate": "1951-11-30"}
    save(store, patient("h", "hmis", **THIN), patient("m", "hospital", **THIN))
    save(store, patient("h2", "hmis", **(THIN | other)), patient("m2", "hospital", **(THIN | other)))
    store.close()
    for one, two, said in (("h", "m", "--cannot-tell"), ("h", "m", "--same"), ("h2", "m2", "--not-same")):
        assert run("review", one, two, said, "--by", "ann", "--why", "card", "--database", url)[0] == 0
    out = tmp_path / "labels"
    code, printed = run("labels", "--out", str(out), "--database", url, "--json")
    assert json.loads(printed) == {"decisions": 2, "same": 1, "not-same": 1, "cannot-tell": 0}
    assert code == 0
    assert (out / "left.csv").stat().st_mode & 0o777 == 0o600
    assert "Patient/h2,Patient/m2,not-same,ann" in (out / "decisions.csv").read_text()
    files = [str(out / name) for name in ("left.csv", "right.csv")]
    code, printed = run("evaluate", *files, "--truth", str(out / "truth.csv"), "--json")
    assert code == 0
    figures = json.loads(printed)
    assert figures["certain_probable"]["recall"] == 1.0
    assert figures["blocking_recall"] == 1.0

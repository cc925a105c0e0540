"""What must never happen should not be possible: checked over the source itself."""

import ast
from functools import cache
from pathlib import Path

GATEWAY = Path(__file__).resolve().parents[2] / "gateway"
SOURCES = sorted(GATEWAY.rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    """The source, parsed once."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def calls(path: Path) -> tuple[ast.Call, ...]:
    """Every call in the source."""
    return tuple(node for node in ast.walk(tree(path)) if isinstance(node, ast.Call))


def test_only_the_consent_gate_makes_released() -> None:
    makers = {
        path.relative_to(GATEWAY).as_posix()
        for path in SOURCES
        for call in calls(path)
        if "Released" in (getattr(call.func, "id", None), getattr(call.func, "attr", None))
    }
    assert makers == {"consent/release.py"}


# where text that we generate from our own tables is compiled, each beside a slow twin that it is tested against
GENERATORS = {
    "linkage/early.py",  # twin: Scorer.score
    "linkage/ladders.py",
    "mapping/hl7v2/generate.py",
    "mapping/hl7v2/identity.py",
    "mapping/hmis/compile.py",
}


def test_nothing_is_unpickled_or_evaluated_from_data() -> None:
    """Code generated from our own tables is compiled in named places; nothing else runs text."""
    forbidden = {"loads": {"pickle", "marshal"}, "load": {"pickle", "yaml", "marshal"}}
    found = []
    for path in SOURCES:
        place = path.relative_to(GATEWAY).as_posix()
        for node in calls(path):
            if isinstance(node.func, ast.Attribute):
                if getattr(node.func.value, "id", "") in forbidden.get(node.func.attr, set()):
                    found.append(f"{place}:{node.lineno}")
            elif getattr(node.func, "id", "") in {"eval", "exec", "compile"} and place not in GENERATORS:
                found.append(f"{place}:{node.lineno}")
    assert found == []


def test_importing_a_module_reads_no_clock_and_no_randomness_at_import() -> None:
    """Module level code may define, not act: no calls to time, random or environment outside functions."""
    acting = {("time", "time"), ("datetime", "now"), ("random", "random"), ("uuid", "uuid4"), ("os", "environ")}
    found = []
    for path in SOURCES:
        for statement in tree(path).body:
            if isinstance(statement, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef, ast.If)):
                continue
            for node in ast.walk(statement):
                if isinstance(node, ast.Attribute) and (getattr(node.value, "id", ""), node.attr) in acting:
                    found.append(f"{path.relative_to(GATEWAY)}:{node.lineno}")
    assert found == []

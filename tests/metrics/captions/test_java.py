"""METEOR and SPICE: their own programs where these are there, and one line where not."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys

import pytest

from project.errors import ConfigError
from project.metrics.captions import METEOR, SPICE
from project.metrics.captions import java as java_module
from project.metrics.captions.java import ProgramError

PREDICTIONS = ["a dog on grass", "two men talking", "un café", "", "a || b"]
REFERENCES = [["a dog lies on the grass", "a brown dog"], ["two people talk"], ["a café"], ["nothing"], ["a b"]]

with_java = pytest.mark.skipif(not shutil.which("java"), reason="METEOR is a Java program, which needs a Java runtime")


@pytest.mark.parametrize("metric_class", [METEOR, SPICE])
def test_without_java_or_the_package_one_line_says_what_to_install(metric_class, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=f"{metric_class.__name__} .* install Java .*or leave it out"):
        metric_class()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"install Java .* and pycocoevalcap \(pip install 'pycocoevalcap>=1.2'\)"):
        metric_class()


@pytest.fixture
def java(tmp_path, monkeypatch):
    """Puts a program of the test's own in the place of `java`."""

    def install(script: str) -> None:
        program = tmp_path / "bin" / "java"
        program.parent.mkdir()
        program.write_text(f"#!{sys.executable}\n{script}")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)

    return install


def scored(metric):
    metric.update(PREDICTIONS[:2], REFERENCES[:2])
    return metric.compute().item(), [score.item() for score in metric.per_image().values()]


def test_the_users_own_options_of_java_are_kept_and_the_language_comes_last(monkeypatch):
    ours = "-Dfile.encoding=UTF-8 -Duser.language=en -Duser.country=US"
    monkeypatch.delenv("JAVA_TOOL_OPTIONS", raising=False)
    assert java_module._environment()["JAVA_TOOL_OPTIONS"] == ours
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1g -Duser.language=de")
    assert java_module._environment()["JAVA_TOOL_OPTIONS"] == f"-Xmx1g -Duser.language=de {ours}"
    assert os.environ["JAVA_TOOL_OPTIONS"] == "-Xmx1g -Duser.language=de"


METEOR_FAILURES = {
    "no memory": (
        "import sys; print('Error occurred\\nCould not reserve enough space\\n\\tat a.b.C', file=sys.stderr); sys.exit(1)",
        "METEOR's Java program failed: Error occurred; Could not reserve enough space$",
    ),
    "silent": ("", "METEOR's Java program failed: .+"),
    "no number": ("import sys\nfor line in sys.stdin: print('0,5', flush=True)", "failed: could not convert .*0,5"),
    "in the middle": (
        "import sys; sys.stdin.readline(); print('1 2', flush=True); sys.stdin.readline(); print('x' * 10**6, file=sys.stderr)",
        "METEOR's Java program failed: x{200,300}$",
    ),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("failure", METEOR_FAILURES)
def test_a_failure_of_meteor_is_one_line_and_no_wait(java, failure):
    script, message = METEOR_FAILURES[failure]
    java(script)
    metric = METEOR()
    metric.update(PREDICTIONS, REFERENCES)
    with pytest.raises(ProgramError, match=message) as error:
        metric.compute()
    assert "\n" not in str(error.value)


SPICE_PROGRAM = """
import json, sys
arguments = dict(zip(sys.argv[4::2], sys.argv[5::2]))
images = json.load(open(sys.argv[4]))
assert sys.argv[1:4] == ["-Xmx8G", "-jar", "spice-1.0.jar"] and sys.argv[-2:] == ["-subset", "-silent"]
scores = [{"image_id": image["image_id"], "scores": {"All": {"f": len(image["refs"]) / 4}}} for image in images]
json.dump(scores[::-1], open(sys.argv[sys.argv.index("-out") + 1], "w"))
"""


def test_spice_is_the_mean_of_what_its_program_writes(java, monkeypatch):
    java(SPICE_PROGRAM)
    monkeypatch.setattr("pycocoevalcap.spice.get_stanford_models.get_stanford_models", lambda: None)
    assert scored(SPICE()) == (0.375, [0.5, 0.25])


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import sys; sys.exit('Exception: no memory')", "SPICE's Java program failed: Exception: no memory"),
        ("", "SPICE's Java program failed: .*scores.json"),  # it writes nothing
    ],
)
def test_a_failure_of_spice_is_one_line(java, monkeypatch, script, message):
    java(script)
    monkeypatch.setattr("pycocoevalcap.spice.get_stanford_models.get_stanford_models", lambda: None)
    with pytest.raises(ProgramError, match=message):
        scored(SPICE())


@pytest.mark.slow
@with_java
def test_meteor_equals_coco_captions():
    from pycocoevalcap.meteor.meteor import Meteor

    gts, res = dict(enumerate(REFERENCES[:2])), {i: [text] for i, text in enumerate(PREDICTIONS[:2])}
    program = Meteor()
    expected, per_image = program.compute_score(gts, res)
    program.meteor_p.stdout.close()
    program.meteor_p.stderr.close()
    metric = METEOR()
    metric.update(PREDICTIONS[:2], REFERENCES[:2])
    assert 0 < metric.compute().item() < 1
    assert metric.compute().item() == pytest.approx(expected, abs=1e-9)
    assert [score.item() for score in metric.per_image().values()] == pytest.approx(per_image, abs=1e-9)


@pytest.mark.slow
@with_java
def test_meteor_is_the_same_where_the_language_writes_a_half_as_0_5_with_a_comma(monkeypatch):
    expected = scored(METEOR())
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Duser.language=de -Duser.country=DE")
    assert scored(METEOR()) == expected


@pytest.mark.slow
@with_java
def test_meteor_reads_accents_bars_and_nothing(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    metric = METEOR()
    metric.update(PREDICTIONS, REFERENCES)
    scores = [score.item() for score in metric.per_image().values()]
    assert scores[2] > 0.1, "café is café whatever the locale"
    assert scores[3] == 0
    assert scores[4] > 0.1


@with_java
def test_spice_whose_parser_is_out_of_reach_says_where_it_belongs(monkeypatch):
    from urllib.error import URLError

    def unreachable() -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("pycocoevalcap.spice.get_stanford_models.get_stanford_models", unreachable)
    with pytest.raises(ConfigError, match=r"SPICE: its parser .* \(no route to host\); put .*models.jar into .*lib"):
        SPICE()


@with_java
def test_nothing_scored_is_no_number():
    metric = METEOR()
    metric.update([], [])
    assert metric.compute().isnan()
    assert metric.per_image() == {}

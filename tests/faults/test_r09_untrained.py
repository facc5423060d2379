"""R9: nothing is measured or predicted with weights that were not trained."""

from __future__ import annotations

import pytest

from tests.faults.outcomes import TASKS

PROMISE = "R9"


@pytest.mark.parametrize("verb", ["test", "validate", "predict"])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("given", [(), ("--ckpt_path", "null")], ids=["without", "null"])
def test_is_refused(mends, wholes, image_folder, tmp_path, task, verb, given):
    options = wholes.options(task, tmp_path / "runs", {"data.predict": image_folder})
    assert "trained weights" in mends([verb, *options[1:], *given])
    assert not (tmp_path / "runs").exists()

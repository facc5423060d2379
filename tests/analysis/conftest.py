"""A run that several tests of analysis look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from project.cli import main


@pytest.fixture(scope="session")
def captioner_run(captioned, caption_options, tmp_path_factory) -> Path:
    """The directory of a captioner's run of eight epochs on `captioned`; what a test adds to it stays."""
    root = tmp_path_factory.mktemp("captioner")
    main([*caption_options(captioned, root, "--trainer.max_epochs", 8), "--progress", "none"])
    return root / "c" / "version_0"

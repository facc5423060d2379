"""`python -m project` is the command line."""

from __future__ import annotations

import subprocess
import sys

from project import __version__


def test_version_in_a_process_of_its_own():
    result = subprocess.run([sys.executable, "-m", "project", "--version"], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"project {__version__}\n", "")

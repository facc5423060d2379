# Two commands for a newcomer: `make demo` and `make test`. Everything runs in .venv, which `make setup` fills.
.PHONY: help setup demo test test-slow test-faults test-nightly fuzz notebooks notebooks-docs docs coverage mutants check lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

help:
	@echo "make setup   .venv with every dependency, pinned and hashed"
	@echo "make demo    train a classifier on handwritten digits and test it (a few minutes, most of them for setup)"
	@echo "make test    the tests (under ten minutes on two cores)"
	@echo "make test-slow  those that start several processes, or take long otherwise (a quarter of an hour)"
	@echo "make notebooks  trains what the notebooks show, once, and runs them (six minutes, then one)"
	@echo "make notebooks-docs  the same, and keeps what they show in docs/notebooks"
	@echo "make test-faults  kills, full disks, damaged files: what docs/reliability.md promises (a quarter of an hour)"
	@echo "make test-nightly  one network of every timm family in every part (six minutes)"
	@echo "make fuzz    damaged files, hostile checkpoints, files of captions (with Java), and properties on random examples, twice SECONDS=300 and ten minutes"
	@echo "make docs    the pages and the reference, docs/_build/index.html (two minutes)"
	@echo "make coverage  what of project/ the fast tests do not run"
	@echo "make mutants  small mistakes in decoding, losses and metrics, which the tests are to notice (half an hour)"
	@echo "make check   formatting, lint and types"
	@echo "make lock    renew requirements.lock from pyproject.toml (needs uv)"

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	touch $@

demo: setup
	$(BIN)/python -m project fit --config configs/classifier/digits.yaml
	$(BIN)/python -m project test --config configs/classifier/digits.yaml --ckpt_path best

test: setup
	$(BIN)/python -m pytest -q -n auto --dist worksteal -m "not slow and not faults and not nightly"

test-slow: setup
	$(BIN)/python -m pytest -q -m slow

test-nightly: setup
	$(BIN)/python -m pytest -q -n auto --dist worksteal -m nightly

# seen from notebooks/, where they run
notebooks notebooks-docs: export PROJECT_RUNS := ../runs/notebooks

notebooks: setup
	$(BIN)/python scripts/make_runs.py
	$(BIN)/python -m pytest -q --nbmake --nbmake-timeout=300 notebooks

notebooks-docs: setup
	$(BIN)/python scripts/make_runs.py
	$(BIN)/python scripts/render_notebooks.py

# its report becomes the table of the page: python scripts/reliability.py .pytest_cache/faults.xml
test-faults: setup
	$(BIN)/python -m pytest -q -n auto --dist worksteal -m faults -o junit_family=xunit1 --junitxml=.pytest_cache/faults.xml

SECONDS ?= 300
SEED ?= 0

fuzz: setup
	$(BIN)/python scripts/fuzz.py --seconds $(SECONDS) --seed $(SEED)
	$(BIN)/python scripts/fuzz_checkpoints.py --seconds $(SECONDS) --seed $(SEED)
	if command -v java; then $(BIN)/python scripts/golden_captions.py fuzz --seed $(SEED); fi
	$(BIN)/python -m pytest -q --timeout 3600 --hypothesis-profile many -m hypothesis

docs: setup
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build

coverage: setup
	$(BIN)/python -m pytest -q -n auto --dist worksteal -m "not slow and not faults and not nightly" --cov --cov-report term:skip-covered

mutants: setup
	$(BIN)/python scripts/mutate.py --rooms decoding losses metrics --sample 150 --seed $(SEED) --others "not java and not two_processes"

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

lock:
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links --upgrade --output-file requirements.lock

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache docs/_build

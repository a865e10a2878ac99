# Two commands on a fresh machine: `make demo` and `make test`.  Each sets up .venv itself, and is quick the second time.
PYTHON ?= python3
BIN := .venv/bin
VIDEO ?=
LABELS ?= smiling, sad, surprised, angry, neutral
WORKERS ?= auto

.PHONY: demo test lint clean

demo: .venv/.demo  ## How a face in a short clip reads: a table, and a picture in demo/result.png
	$(BIN)/python examples/demo.py --labels "$(LABELS)" $(if $(VIDEO),--video "$(VIDEO)")

test: .venv/.dev lint  ## Everything that continuous integration runs
	$(BIN)/python -m pytest -n $(WORKERS)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv demo .pytest_cache .mypy_cache .ruff_cache

.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "emoclip needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.demo: .venv/.python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[demo]"
	@touch $@

.venv/.dev: .venv/.python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@ .venv/.demo

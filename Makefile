# Two commands on a fresh machine: `make demo` and `make test`.  Each sets up .venv itself, and is quick the second time.
PYTHON ?= python3
BIN := .venv/bin
VIDEO ?=
LABELS ?= smiling, sad, surprised, angry, neutral
WORKERS ?= auto

.PHONY: demo test lint clean constraints

demo: .venv/.demo  ## How a face in a short clip reads: a table, and a picture in demo/result.png
	$(BIN)/python examples/demo.py --labels "$(LABELS)" $(if $(VIDEO),--video "$(VIDEO)")

test: .venv/.dev lint  ## Everything that continuous integration runs
	$(BIN)/python -m pytest -n $(WORKERS)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv demo .pytest_cache .mypy_cache .ruff_cache

.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "emoclip needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.demo: .venv/.python pyproject.toml constraints/demo.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r constraints/demo.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

.venv/.dev: .venv/.python pyproject.toml constraints/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r constraints/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@ .venv/.demo

constraints: .venv/.python  ## Renew the pinned versions and hashes from pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	for extra in demo dev; do $(BIN)/uv pip compile pyproject.toml --extra $$extra --universal --upgrade \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet -o constraints/$$extra.txt; done

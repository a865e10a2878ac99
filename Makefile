# Two commands on a fresh machine: `make demo` and `make test`.  Each sets up .venv itself, and is quick the second time.
PYTHON ?= python3
BIN := .venv/bin
VIDEO ?=
LABELS ?= smiling, sad, surprised, angry, neutral
WORKERS ?= auto
# Many tests start a fresh Python: where a machine forbids to keep compiled modules, each would compile all libraries anew.
export PYTHONDONTWRITEBYTECODE =
PYTEST = pytest -n $(WORKERS) --dist worksteal  # neighbours share a process, and so what they need is made once
BASE = .venv-base/$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

.PHONY: demo test suite base lowest lint clean constraints

demo: .venv/.demo  ## How a face in a short clip reads: a table, and a picture in demo/result.png
	$(BIN)/python examples/demo.py --labels "$(LABELS)" $(if $(VIDEO),--video "$(VIDEO)")

test: lint suite  ## Every check and test on this Python; with `make -j2`, checks beside tests

suite: .venv/.dev
	$(BIN)/python -m $(PYTEST)

base:  ## The suite without training and torch, on any Python: make base PYTHON=python3.13
	$(PYTHON) -m venv $(BASE)
	$(BASE)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(BASE)/bin/uv pip install --quiet --python $(BASE)/bin/python -r constraints/test.txt
	$(BASE)/bin/uv pip install --quiet --python $(BASE)/bin/python --no-deps -e .
	$(BASE)/bin/python -m $(PYTEST)

lowest:  ## The same with the oldest libraries that pyproject.toml allows
	$(PYTHON) -m venv .venv-base/lowest
	.venv-base/lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-base/lowest/bin/uv pip install --quiet --python .venv-base/lowest/bin/python --resolution lowest-direct -e '.[test]'
	.venv-base/lowest/bin/python -m $(PYTEST)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv .venv-base demo .pytest_cache .mypy_cache .ruff_cache

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
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	# uv is several times as quick; pip heeds settings of a machine (an index, a certificate) that uv does not know.
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r constraints/dev.txt || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -r constraints/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@ .venv/.demo

constraints: .venv/.python  ## Renew the pinned versions and hashes from pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	for extra in demo test dev; do $(BIN)/uv pip compile pyproject.toml --extra $$extra --universal --upgrade \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet -o constraints/$$extra.txt; done

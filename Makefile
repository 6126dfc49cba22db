# make demo | test | lint | bench | docs | clean: everything each one needs is installed into .venv on first use.
# `make test ARGS="-k masked"` passes arguments on; `make PYTHON=/path/to/python3.12 test` chooses the interpreter.
.DEFAULT_GOAL := help
.PHONY: help demo test lint bench docs clean
MAKEFLAGS += --no-print-directory

# The tested version first: constraints.txt was frozen on 3.11. A launcher that exists but does not run is passed over.
IS_NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p $(IS_NEW_ENOUGH) && echo $$p && break; done)
BIN := .venv/bin
# By variable, not by -c: the environment that pip builds the package in is then held to it too.
PIP := PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check

help:
	@echo "make demo   generate, steer, check and plot molecules; prints where the pictures are"
	@echo "make test   run the tests            make lint   check style and types"
	@echo "make bench  measure side by side     make docs   build docs/_build/index.html"
	@echo "make clean  remove build products and caches; .venv and your runs/ stay"

.venv/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" && $(PYTHON) $(IS_NEW_ENOUGH) || { \
		echo "scidiff needs Python 3.11 or newer: got '$(or $(PYTHON),no python3 on the PATH)'; try make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing scidiff into .venv (a few minutes the first time)" >&2
	@$(PIP) -e ".[dev,fcd]"
	@touch $@

# Small extras, so that the tests of what they switch on run everywhere.
.venv/.extras: .venv/.ready
	@$(PIP) -e ".[rna,motifs,peptides,docking,qm,poses]"
	@touch $@

.venv/.docs: .venv/.ready
	@$(PIP) -e ".[docs]"
	@touch $@

demo: .venv/.ready
	@$(BIN)/python examples/demo.py $(ARGS)

# One thread a worker: two single-threaded workers beat one worker with two threads on small tensors.
test: .venv/.extras
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(or $(WORKERS),2) --dist loadfile $(ARGS)

lint: .venv/.ready
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: .venv/.ready
	@set -e; for b in benchmarks/[!_]*.py; do echo "== $$b"; $(BIN)/python $$b $(ARGS); done

docs: .venv/.docs
	@$(BIN)/sphinx-build -q -W -b html docs docs/_build
	@echo "docs/_build/index.html"

clean:
	@rm -rf build dist docs/_build .pytest_cache .ruff_cache .mypy_cache
	@find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

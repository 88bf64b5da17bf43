# Two commands: `make demo` and `make test`.  Both make .venv on their first call.
# The stamps are newer than what they depend on, so a second call starts at once.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test check-all docs results install page clean
.DELETE_ON_ERROR:

export OMP_WAIT_POLICY := PASSIVE
export PYTHON

CORE := .venv/.handful-core
DEV := .venv/.handful-dev
BIN := .venv/bin
SOURCES := pyproject.toml constraints.txt scripts/install.sh hatch_build.py

help:
	@echo "make demo       name 1,797 real images from a hundred-odd answers, with a report"
	@echo "make test       everything that a change must pass, in under 10 minutes"
	@echo "make check-all  the same and the slow tests"
	@echo "make docs       build the documentation into docs/_build/html"
	@echo "make results    render docs/results.md and the README's figures from benchmarks/results"
	@echo "make page       build the labelling page anew where ui/ has changed"
	@echo "make install    only make .venv, with the tools of the tests"
	@echo "make clean      remove what these commands made, .venv included"

$(CORE): $(SOURCES)
	@bash scripts/install.sh core
	@touch $@

$(DEV): $(SOURCES)
	@bash scripts/install.sh dev
	@touch $(CORE) $@

install: $(DEV)

demo: $(CORE)
	@$(BIN)/handful demo

test: $(DEV)
	@bash scripts/check.sh

check-all: $(DEV)
	@bash scripts/check.sh --all

page: $(CORE)
	@$(BIN)/python hatch_build.py build

docs: $(DEV)
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

results: $(DEV)
	@$(BIN)/python benchmarks/render.py

clean:
	rm -rf .venv build dist docs/_build docs/generated htmlcov .coverage
	rm -rf src/handful/page/static ui/node_modules
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Everything runs from a fresh clone: each target sets up .venv when it is missing or older than
# pyproject.toml or constraints.txt. Needs Python 3.11 or newer with venv, nothing else.
#
#   make demo                 render, train, compare, recognize; report in demo/
#   make demo ARGS=--quick    the same, small
#   make test                 all tests       (ARGS="-k reader" for some)
#   make lint                 ruff and mypy
#   make docs                 the site, in site/
#   make release              sdist, wheel, bill of materials, checksums of a tag, in dist/
#   make clean                remove .venv and what the targets made

PYTHON ?= python3
WORKERS ?= 2
ARGS ?=
DEV := dev,eval,explain,export,flow,scans,serve,browser,peers

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt
INPUTS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint docs release clean

help:
	@sed -n '4,10s/^# *//p' Makefile

demo: .venv/base
	$(BIN)/p3d demo --out demo $(ARGS)

test: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -rs $(ARGS)

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src

docs: .venv/docs
	$(BIN)/mkdocs build --strict $(ARGS)

release:
	PYTHON=$(PYTHON) .ci/release $(ARGS)

clean:
	rm -rf .venv site demo .pytest_cache .mypy_cache .ruff_cache .hypothesis

# A stamp file per set of extras; "dev" holds all that "base" does.
.venv/base: $(INPUTS)
	$(call venv,.)
	@touch $@

.venv/dev: $(INPUTS)
	$(call venv,.[$(DEV)])
	@touch .venv/base $@

.venv/docs: $(INPUTS)
	$(call venv,.[docs])
	@touch .venv/base $@

# Keep an environment that still runs, otherwise start it anew; then install $(1) into it.
define venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "pseudo3d needs Python 3.11 or newer, $(PYTHON) is not:" \
	    "make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  echo "setting up .venv (a few minutes the first time)"; \
	  $(PYTHON) -m venv --clear .venv; }
	$(PIP) -e "$(1)"
endef

# Two commands on a fresh machine: `make quickstart` and `make test`. Both make their own environment in .venv.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2

.PHONY: quickstart test lint types docs check clean

quickstart: $(VENV)/installed
	$(VENV)/bin/pushpull quickstart

# One thread a worker: small tensors gain nothing from more, and two workers would fight over the cores.
test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(JOBS)

lint: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports

types: $(VENV)/installed-dev
	$(VENV)/bin/mypy

# The documentation site, into site/; a warning is an error. Open site/index.html: it needs no server.
docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

check: test lint types docs

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "PushPull-Net needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "making an environment in $(VENV) ..."
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	@echo "installing the package and PyTorch into $(VENV): minutes, the first time ..."
	$(VENV)/bin/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/bin/python pyproject.toml
	@echo "installing the package, PyTorch and what the tests need into $(VENV): minutes, the first time ..."
	$(VENV)/bin/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-docs: $(VENV)/bin/python pyproject.toml
	$(VENV)/bin/python -m pip install --quiet --editable '.[docs]'
	@touch $@ $(VENV)/installed

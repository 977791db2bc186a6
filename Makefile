# make demo     install, then train the quickstart recipe and show what it learned
# make test     all tests (under 10 minutes on 2 cores)
# make check    what CI runs: format, lint, types, import contracts, size budget, tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo install test check lint clean

demo: install
	$(BIN)/oneloop train recipes/quickstart.yaml

install: $(INSTALLED)

# torch first: with it in place no other package pulls a build for other hardware
$(INSTALLED): pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(INSTALLED)

test: install
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

lint: install
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/size_budget.py

check: lint test

clean:
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info

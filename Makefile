# make demo     install, then train the quickstart recipe and show what it learned
# make test     all tests (under 10 minutes on 2 cores)
# make docs     build the site into build/site; a link that leads nowhere fails
# make check    what CI runs: format, lint, types, import contracts, size budget, documents, site, tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo install test check lint docs clean

demo: install
	$(BIN)/oneloop train quickstart

install: $(INSTALLED)

# torch first: with it in place no other package pulls a build for other hardware
$(INSTALLED): pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev,docs]"
	touch $(INSTALLED)

test: install
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

lint: install
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/size_budget.py
	$(BIN)/python .ci/method_index.py --check

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo build/site/index.html

check: lint docs test

clean:
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info

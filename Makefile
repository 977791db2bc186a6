# make demo     install, then teach a small chat model to answer sums, and show what it learned
# make test     all tests (under 10 minutes on 2 cores)
# make numbers  the tests of numbers again, as on CPUs without AVX-512 and without AVX2 (2 minutes each)
# make docs     build the site into build/site; a link that leads nowhere fails
# make release  quick form of every claim, every recipe to its end, and a page of what changed (over night)
# make check    what CI runs: format, lint, types, import contracts, size budget, documents, site, tests, numbers
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# every library that computes picks its instructions by itself, and each is told by a variable of its own
AVX2 := ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Haswell
PLAIN := ATEN_CPU_CAPABILITY=default MKL_ENABLE_INSTRUCTIONS=SSE4_2 ONEDNN_MAX_CPU_ISA=SSE41 OPENBLAS_CORETYPE=Nehalem
NUMBERS := tests/recipe/test_shipped.py tests/engines tests/sample/policies/test_language.py \
	tests/sample/policies/trees tests/update tests/credit tests/core

.PHONY: demo install test numbers check lint docs release clean

demo: install
	@if $(BIN)/oneloop fetch smollm2; then $(BIN)/oneloop train quickstart; else \
	  echo "Without the model the demo is a smaller one: a Llama of 3.2 M parameters, built here, learns to add."; \
	  $(BIN)/oneloop train tiny; \
	fi

install: $(INSTALLED)

# torch first: with it in place no other package pulls a build for other hardware
$(INSTALLED): pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev,docs]"
	touch $(INSTALLED)

test: install
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder

numbers: install
	$(AVX2) OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --max-worker-restart 0 --dist loadfile $(NUMBERS)
	$(PLAIN) OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --max-worker-restart 0 --dist loadfile $(NUMBERS)

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

check: lint docs test numbers

release: install
	$(BIN)/python -m benchmarks.release

clean:
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info

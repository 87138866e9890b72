# A newcomer needs two commands: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Threads that wait asleep leave the cores to the other worker; spinning ones fight for them.
export OMP_WAIT_POLICY ?= passive
export TOKENIZERS_PARALLELISM ?= false

# One more than there are cores: some tests wait for processes of their own.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(8, 1 + (os.cpu_count() or 1)))')

.PHONY: demo test check setup clean

demo: setup
	$(BIN)/fedloom run quickstart --bounds --resume

test: setup
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("fedloom needs Python 3.11 or newer; this is %s.%s. Fix: make PYTHON=python3.11 ..." % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache

# `make run` and `make test` set everything up that they need on a machine with Python 3.11+, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two steps: what it needs to run, and on top of that the tools that test and check it.
RUNS := $(VENV)/ready-run
READY := $(VENV)/ready-test
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -C editable_mode=compat
# The tests start thousands of processes: what they load is kept compiled, and the package is found by its path, without
# the import hook of setuptools, which costs each of them 10 ms.
export PYTHONDONTWRITEBYTECODE :=
.PHONY: run test test-long check lint types collect golden bench docs pictures clean

$(RUNS): pyproject.toml .ci/constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[web]'
	$(BIN)/python -m compileall -q scheduler
	touch $(RUNS)

$(READY): $(RUNS)
	$(INSTALL) -e '.[dev]'
	touch $(READY)

# `exec`: nothing stands between make and the daemon, so a signal to make ends both.
run: $(RUNS)  ## set up without development tools, and serve jobs.living, a copy of jobs.example, until Ctrl-C
	@exec env BIN=$(BIN) sh .ci/tour

test: $(READY)  ## set up with development tools, and run the tests, two processes a core
	$(BIN)/pytest -n auto --dist loadgroup

test-long: $(READY)  ## what takes too long for every commit: 1,000 kills, 100,000 fires, three years, 1,000 examples of each property
	$(BIN)/pytest -m "long or hypothesis" --hypothesis-profile many

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache

types: $(READY)
	$(BIN)/mypy

collect: $(READY)  ## look for the tests, and keep them compiled: the processes of `make test` find them so
	$(BIN)/pytest --collect-only -qq > $(VENV)/collected

check: lint types test  ## what a commit must pass

golden: $(READY)  ## rewrite the golden files; review the diff
	GOLDEN=write $(BIN)/pytest tests/faces tests/core tests/web -q

bench: $(READY)  ## measure beside other schedulers, and write docs/benchmarks.md
	$(BIN)/python -m tests.bench

docs: $(READY)  ## rewrite the generated reference pages and the JSON Schemas
	$(BIN)/python docs/generate.py

pictures: $(READY)  ## take the pictures of the README again; look at them
	$(BIN)/python -m tests.browser.pictures

clean:
	rm -rf $(VENV) jobs.example/.scheduler jobs.living

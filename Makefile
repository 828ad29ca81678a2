# Everything runs in .venv, which the first call makes.  Without make: see "Without make" in README.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
USERS := .users
TORTURE_ROUNDS ?= 300
# What is not compiled when it is installed is compiled at its first use, and kept.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test check bench docs torture peers clean

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(RUNTIME) ## the whole job once, against the built-in back end: no account, no network
	$(BIN)/python main.py demo

# What a file of tests makes once is made once: all of it runs in one worker.
test: $(DEV) ## the tests; those that measure time run by themselves
	$(BIN)/python -m pytest -n logical --dist loadfile --no-loadscope-reorder -m "not alone"
	$(BIN)/python -m pytest -m alone

check: $(DEV) ## ruff (lint, format) and mypy strict; TypeScript and ESLint where npm is
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.peers.page

bench: $(DEV) $(USERS)/.runtime ## the measurements behind docs/speed.md
	BENCH_PYTHON=$(USERS)/bin/python $(BIN)/python -m benchmarks

docs: $(DEV) ## the pictures, the session and the list of constants in docs
	$(BIN)/python docs/make.py

torture: $(DEV) ## all moments, cases and many more rounds of kill -9, of which the tests take some
	TORTURE_ROUNDS=$(TORTURE_ROUNDS) $(BIN)/python -m pytest -n logical -m "(torture or seldom) and not alone" --timeout 7200
	TORTURE_ROUNDS=$(TORTURE_ROUNDS) $(BIN)/python -m pytest -m "torture and alone" --timeout 7200

peers: $(DEV) ## tests against servers that nobody here wrote; sets them up in .peers
	$(BIN)/python -m tests.peers.install
	$(BIN)/python -m pytest tests/peers

clean: ## remove .venv, .peers and caches (never an archive)
	rm -rf $(VENV) $(USERS) .peers .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV):
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# --no-compile: most of what is installed is never imported, and the rest is compiled then.
$(RUNTIME): requirements.txt | $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.txt
	@touch $@

$(DEV): requirements-dev.txt requirements.txt | $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements-dev.txt
	@touch $@ $(RUNTIME)

# As users have it, for what they wait for: without the packages of the tests.
$(USERS)/.runtime: requirements.txt
	$(PYTHON) -m venv $(USERS)
	$(USERS)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

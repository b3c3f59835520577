# The verbs of the project. `make demo` and `make test` set up all they need the first time.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
PYTEST := $(BIN)/python -m pytest -p no:ape_test -q
# Compiled modules are kept: the tests start hundreds of processes that import the same ones.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/$(BIN):$(CURDIR)/node_modules/.bin:$(PATH)

.PHONY: help demo up check test test-suite test-contracts forge soak fuzz setup contracts circuits lint \
  check-lint types coverage format bench lock clean

help: ## list the verbs
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: setup ## the main job, end to end; options: make demo ARGS="--keep"
	@$(BIN)/guerdon demo $(ARGS)

up: setup ## the same stack with an empty program, until Ctrl-C
	@$(BIN)/guerdon up $(ARGS)

# The gears: each test has one, see tests/support/gears.py and CONTRIBUTING.md.
SUITE := $(PYTEST) --ignore=tests/contracts --dist loadgroup
# More processes than cores: a test waits for PostgreSQL, and tests of whole stacks mostly wait.
CHECK_WORKERS ?= 3
WORKERS ?= 4

check: setup ## lint, types, and the tests without a chain: for every change
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target check-lint types
	$(SUITE) -n $(CHECK_WORKERS) -m "(pure or db) and not slow" $(ARGS)

coverage: setup ## branch coverage of the pure and database tests; fails below the floor in pyproject.toml
	$(SUITE) -n $(CHECK_WORKERS) -m "pure or db" --cov --cov-report=term:skip-covered $(ARGS)

test: setup ## every test that a newcomer needs to trust it; some gears: make test GEAR="chain or stack"
	@$(MAKE) --no-print-directory --jobs 2 test-suite test-contracts

# Two runs share the screen: whole lines at a time, and each line of dots says whose it is.
AS_LANE = | sed -u -E 's/^[.FEsx]+ *\[/$@ &/'
test-suite: setup
	$(SUITE) -n $(WORKERS) $(if $(GEAR),-m "$(GEAR)") $(ARGS) $(AS_LANE)

test-contracts: setup
	$(BIN)/ape test --network ethereum:local:foundry -q tests/contracts $(AS_LANE)
	@$(MAKE) --no-print-directory forge

forge: setup ## the auditors' suite: contracts against the shared vectors, with real proofs, in forge
	@$(BIN)/python -m tests.forge.proofs
	@forge test $(FORGE_ARGS)

soak: setup ## the long tests and the fuzz, round after round; options: make soak SEED=7 HOURS=8
	@$(BIN)/python -m tests.soak $(if $(SEED),--seed $(SEED)) $(if $(HOURS),--hours $(HOURS))

fuzz: setup ## random calls of the contracts against their models, ten minutes; options: make fuzz SECONDS=60, ARGS="--seed 1a2b3c4d"
	@$(BIN)/python -m tests.contracts_fuzz.campaign $(or $(SECONDS),600) $(ARGS)

setup: $(VENV)/.installed node_modules/.installed contracts circuits ## install everything, compile contracts and the dev circuit

$(VENV)/.installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "python3 is missing: install Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, $$($(PYTHON) --version) is here: try make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing Python packages into $(VENV) (a minute or two, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable . 2>&1 | { grep -i error || true; }
	@touch $@

# Not `npm ci`: it insists on lock entries for the platforms that this is not.
node_modules/.installed: package-lock.json package.json
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 with npm" >&2; exit 1; }
	@echo "Installing npm packages (half a minute, once)"
	@npm install --no-save --silent --no-audit --no-fund
	@touch $@

contracts: $(VENV)/.installed node_modules/.installed ## compile the contracts
	@$(BIN)/python -m scripts.compile

circuits: $(VENV)/.installed node_modules/.installed ## compile the dev circuit and make its development key, once a machine
	@$(BIN)/python -m prover.keygen dev

lint: check-lint ## style, common mistakes, import arrows, Slither over the contracts
	$(BIN)/python -m scripts.slither

check-lint: setup # the fast half of lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	forge fmt --check contracts tests/forge
	$(BIN)/lint-imports --no-logo

types: setup ## check the types
	$(BIN)/mypy

format: $(VENV)/.installed ## put code into the house's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	forge fmt contracts tests/forge

bench: setup ## measure; writes build/bench.json
	@$(BIN)/python -m scripts.bench $(ARGS)

LOCK = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --python-version 3.11 \
  --custom-compile-command "make lock" pyproject.toml
lock: $(VENV)/.installed ## pin every Python package anew, for all platforms and Python versions
	@$(BIN)/python -m pip install --quiet uv==0.13.9
	$(LOCK) --extra dev -o requirements.lock
	$(LOCK) -o requirements-service.lock

clean: ## remove what was built here (not the user's cache folder)
	rm -rf $(VENV) node_modules build .guerdon .build *.egg-info

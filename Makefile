# Everything a newcomer or a CI machine needs. 'make help' lists it.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.11 /usr/bin/python3.11 python3; do command -v $$p >/dev/null 2>&1 && { command -v $$p; break; }; done)
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help install scanners programs style demo down test long check coverage bench endurance lock clean
.DEFAULT_GOAL := help

help: ## what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

install: $(STAMP) ## what is missing: Debian packages (as root or with sudo) and .venv from the lock file

$(STAMP): requirements.lock pyproject.toml deployments/install.sh deployments/packages.sh
	@bash deployments/install.sh "$(PYTHON)"
	@touch $@

# They need nothing of .venv, only a Python that can make another one.
scanners: $(if $(shell "$(PYTHON)" -c 'import ensurepip, venv; print(True)' 2>/dev/null),,install) ## the scanners that the tests run for real, in .tools, apart from .venv
	@bash deployments/scanners.sh "$(or $(PYTHON),$(BIN)/python)"

# Debian packages are installed by one at a time.
programs: install ## what only the tests and the two sites need: a browser, a Redis, backup engines, Patroni
	@bash deployments/test-programs.sh

demo: install ## release campus three times under load; the third one is bad and is turned back
	@$(BIN)/python -m deployments.lab.demo

down: ## end everything that the demo or 'slipway up' started
	@if [ -x $(BIN)/slipway ]; then $(BIN)/slipway down; else echo "nothing was ever installed here"; fi

style: install ## ruff, mypy --strict, import layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

check: style ## the same, then the unit and contract tests with in-memory drivers
	@$(BIN)/pytest -q -n 2 --dist loadfile tests/unit tests/contract -m "not server"

test: ## the suite without its longest tests, against real servers that the tests start and end
	@$(MAKE) --no-print-directory --jobs --output-sync=target install scanners programs style
	@# Three for two processors: for much of its time a test waits, for servers, soaks and leases.
	@$(BIN)/pytest -n 3 --dist loadfile -m 'not long' tests --ignore=tests/acceptance/test_fault_table.py
	@# It plays its rows side by side, and would disturb whoever counts requests beside it.
	@$(BIN)/pytest tests/acceptance/test_fault_table.py

long: install programs ## the longest tests: every backup engine, restores, challenges, kills in the middle of them
	@$(BIN)/pytest -n 3 --dist loadfile -m long tests

coverage: install ## which lines the tests without servers reach
	@$(BIN)/pytest -q -n 2 --dist loadfile --cov --cov-report=term:skip-covered tests/unit tests/contract -m "not server"

bench: install ## measure what docs/benchmarks.md reports
	@$(BIN)/python -m tests.bench

endurance: install ## kill workers, engines, servers and stores in the middle of backups, for hours
	@$(BIN)/python -m tests.bench --only kills

lock: install ## renew requirements.lock from pyproject.toml
	@$(BIN)/python -m pip install -q uv
	@$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --extra dev --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header -o requirements.lock

clean: down ## remove .venv, .tools and var
	rm -rf .venv .tools var

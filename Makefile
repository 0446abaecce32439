# The one front door. Nothing here needs root: tests that want Debian packages are skipped, with a
# printed count; `.ci/run` installs those packages and skips nothing.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV ?= .venv
EXTRAS ?= dev
# The newest supported interpreter that works. Read only when an environment is made.
PYTHON ?= $(shell .ci/pythons | { read -r version path && echo "$$path"; })
ARGS ?=

bin := $(VENV)/bin
installed := $(VENV)/.installed-$(EXTRAS)
inputs := pyproject.toml $(wildcard durable_kernel/kernel/resources/*)

.PHONY: help setup test check lint types layers format coverage demo bench campaign interrupts gestures runners compare transparency parity build clean

help:  ## what this file can do
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  ARGS=... is handed on to pytest, the benchmarks, the comparison, the campaigns and the demo"

setup: $(installed)  ## make .venv with everything (PYTHON=... chooses the interpreter)

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "setup: no working Python 3.11, 3.12 or 3.13 found; name one with PYTHON=..."; exit 1; }
	@echo "setup: making $(VENV) with $(PYTHON)"
	@"$(PYTHON)" -m venv $(VENV)
	@touch $@

$(VENV)/.installed-%: $(VENV)/.made $(inputs)
	@echo "setup: installing durable_kernel with [$*] into $(VENV); the first time takes about a minute"
	@$(bin)/python -m pip install -qq --disable-pip-version-check -e '.[$*]'
	@touch $@
	@echo "setup: $(VENV) is ready ($$($(bin)/python --version))"

test: $(installed)  ## the tests, with every interpreter found among 3.11, 3.12 and 3.13
	@VENV="$(VENV)" MAKE="$(MAKE)" .ci/test $(ARGS)

check: lint types layers  ## lint, types and layers

lint: $(installed)  ## ruff: rules and format
	$(bin)/ruff check .
	$(bin)/ruff format --check .

types: $(installed)  ## mypy --strict over package and tests
	$(bin)/mypy

layers: $(installed)  ## the rooms import only downwards
	$(bin)/lint-imports

format: $(installed)  ## rewrite the files as lint wants them
	$(bin)/ruff format .
	$(bin)/ruff check --fix .

coverage: $(installed)  ## the tests with branch coverage, one interpreter
	$(bin)/python -m pytest --cov --cov-report=term $(ARGS)

demo: $(VENV)/.installed-demo  ## a real pipeline, killed and resumed (ATTACK=1: you press the key)
	$(bin)/python -m notebooks.demo $(if $(ATTACK),--attack) $(ARGS)

bench: $(VENV)/.installed-bench  ## the budgets of the design, measured
	$(bin)/python -m benchmarks.run $(ARGS)

campaign: $(installed)  ## kill it at every point, and count (KILLS=n: a slice)
	$(bin)/python -m tests.crash.campaign $(if $(KILLS),--kills $(KILLS)) $(ARGS)

runners: $(installed)  ## papermill, nbclient and `durable run`, killed and called again
	$(bin)/python -m tests.runners $(ARGS)

gestures: $(installed)  ## what people do to a notebook, against what they are promised (JOBS=n: at once)
	$(bin)/python -m tests.gestures $(if $(JOBS),--jobs $(JOBS)) $(ARGS)

interrupts: $(installed)  ## interrupt it at random moments, kill it, compare (ARGS='--interrupts n')
	$(bin)/python -m tests.interrupts.campaign $(ARGS)

compare: $(VENV)/.installed-compare  ## one pipeline, killed thrice, under this and other tools
	$(bin)/python -m benchmarks.compare $(ARGS)

transparency:  ## suites of requests, httpx and urllib3 in both kernels (SLICE=1: a part)
	@$(MAKE) --no-print-directory setup VENV=$(VENV)-transparency EXTRAS=transparency
	$(VENV)-transparency/bin/python -m tests.transparency.run $(if $(SLICE),--slice) $(ARGS)

parity: $(installed)  ## ipykernel's own suite in both kernels (SLICE=1: a part)
	$(bin)/python -m tests.parity.suite $(if $(SLICE),--slice) $(ARGS)

build: $(installed)  ## wheel and source archive in dist/
	$(bin)/python -m build

clean:  ## remove what make, the tools and the tests left behind
	rm -rf .venv .venv-* dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache \
	  .hypothesis .coverage .coverage.*
	find . -path ./.git -prune -o -name __pycache__ -prune -exec rm -rf {} +

# Auxin's tasks; `make` alone lists them. `make PYTHON=python3.12 test` makes .venv with that Python.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
INSTALL = $(if $(UV),$(UV) pip install --python $(BIN)/python,$(BIN)/python -m pip install --disable-pip-version-check)
# Some suites have no wheels for the newest Pythons; uv, left to choose, would take one of those.
CHOICE = $(if $(filter file,$(origin PYTHON)),>=3.11$(comma)<3.14,$(PYTHON))
comma := ,

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-slow parity lint bench clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{printf "make %-10s %s\n", $$1, $$2}'

demo: $(VENV)/.installed ## train BeBold on a hard MiniGrid task; leaves a curve and a film in runs/demo
	@$(BIN)/python scripts/demo.py

test: $(VENV)/.installed-dev ## run the tests
	@$(BIN)/python -m pytest

test-slow: $(VENV)/.installed-dev ## run the tests that take minutes
	@$(BIN)/python -m pytest -m slow

parity: $(VENV)/.installed-dev ## compare MiniGrid on the device with Farama's in full, step by step
	@$(BIN)/python -m pytest -m slow tests/envs/test_minigrid_parity.py

lint: $(VENV)/.installed-dev ## check style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(VENV)/.installed-bench ## install the peers to measure against, and list the benchmarks
	@$(BIN)/python scripts/benchmark.py

clean: ## remove caches and build leftovers; .venv and runs stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(BIN)/python:
ifneq ($(UV),)
	@$(UV) venv --python '$(CHOICE)' $(VENV)
else
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not there: install Python 3.11 or newer."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Auxin needs Python 3.11 or newer, and $(PYTHON) is older: make PYTHON=python3.12 takes another."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: install the package python3-venv."; exit 1; }
	@$(PYTHON) -m venv $(VENV)
endif

# Each stamp says that the packages pyproject.toml asks for are there; the test installation holds all that demo needs.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(INSTALL) -e '.[minigrid]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(INSTALL) -e '.[all,dev]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-bench: pyproject.toml | $(BIN)/python
	$(INSTALL) -e '.[all,bench]'
	@touch $(VENV)/.installed $@

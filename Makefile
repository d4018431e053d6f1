# Everything lives in .venv of this clone; nothing else on the machine is touched
# (downloads are kept in the caches of pip, uv and jgo, as usual).
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
ROOMS := projections sinks sources local views

.PHONY: help demo test lint types unit format lock bench clean
.DEFAULT_GOAL := help

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(READY) ## a shop table followed into Redis, OpenSearch and Postgres, live, on real local servers
	@$(BIN)/dynaview demo

test: $(READY) lint types unit ## lint, types and all tests, against real local servers

lint: $(READY) ## ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY) ## mypy, strict
	@$(BIN)/mypy $(ROOMS:%=-p dynaview.%)
	@$(BIN)/mypy tests benchmarks

unit: $(READY) ## the tests alone
	@$(BIN)/pytest

format: $(READY) ## let ruff rewrite the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(READY) ## ratios to the raw ceilings of the stores
	@$(BIN)/python -m benchmarks

lock: .venv/.uv ## resolve pyproject.toml again into requirements.txt (names and hashes only)
	@UV_NO_CONFIG=1 $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
		--extra local --group dev --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
		--upgrade --quiet --output-file requirements.txt

clean: ## remove the environment and what tools left behind
	@rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .dynaview

.venv/.uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "dynaview needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Creating .venv and fetching uv from PyPI (about 25 MB)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv \
		|| { echo "uv could not be fetched from PyPI: is the network there?" >&2; exit 1; }
	@touch $@

# The installed package is a tree of links, so a new file wants a new installation.
$(READY): .venv/.uv pyproject.toml requirements.txt $(shell find $(ROOMS) -type d -not -name __pycache__)
	@echo "Installing the locked dependencies from PyPI (about 200 MB the first time)"
	@VIRTUAL_ENV=.venv $(BIN)/uv pip sync --quiet --require-hashes requirements.txt \
		|| { echo "the dependencies could not be fetched from PyPI: is the network there?" >&2; exit 1; }
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --reinstall-package dynaview --editable .
	@touch $@

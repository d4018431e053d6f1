# Everything lives in .venv of this clone; nothing else on the machine is touched
# (downloads are kept in the user's caches, as usual).
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11
BIN := .venv/bin
READY := .venv/.ready
ROOMS := projections sinks sources local views
LOCK := UV_NO_CONFIG=1 $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' --quiet
TOOLS := .venv/tools/bin
DIST ?= dist
LAMBDA ?= build/lambda
LAMBDA_PYTHON ?= $(BIN)/python
LAMBDA_ARCH ?= x86_64
SITE ?= build/site
PAGES ?= build/pages

# What opensearch-py asks for and never imports unless its gRPC client is used: 20 MB less in an image.
UNUSED := grpcio opensearch-protobufs protobuf

.PHONY: help demo test lint types unit format lock soak bench bench-compare bench-instructions bench-quick docs dist lambda manifests deploy-check screenshots clean
.DEFAULT_GOAL := help

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

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
	@$(BIN)/pytest -n 3 --dist loadfile

format: $(READY) ## let ruff rewrite the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

soak: $(READY) ## half an hour of faults on real servers: following, then rebuilds, and nothing may be lost
	@$(BIN)/python -m tests.soak.soak
	@$(BIN)/python -m tests.soak.chaos_run

bench: $(READY) ## ratios to the raw ceilings of the stores; kept in build/benchmarks as JSON and as a picture
	@$(BIN)/python -m benchmarks --out build/benchmarks

docs: $(READY) $(TOOLS)/.ready ## the documentation as a site, in build/site; a broken link is an error
	@$(BIN)/python docs/assemble.py $(PAGES)
	@NO_MKDOCS_2_WARNING=1 $(TOOLS)/mkdocs build --strict --config-file $(PAGES)/mkdocs.yml --site-dir $(abspath $(SITE))

dist: $(READY) $(TOOLS)/.ready ## wheel and sdist in dist/, checked as a package index would
	@$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir $(DIST)
	@$(TOOLS)/twine check --strict $(DIST)/*.whl $(DIST)/*.tar.gz

# /var/task cannot be written to, so what is not compiled here is compiled at every cold start, which takes seconds.
lambda: $(READY) ## what a Lambda function runs: build/lambda, and dist/lambda.zip of it (LAMBDA_PYTHON, LAMBDA_ARCH)
	@rm -rf $(LAMBDA) && mkdir -p $(LAMBDA) $(DIST)
	@$(BIN)/uv pip install --quiet --python $(LAMBDA_PYTHON) --target $(LAMBDA) --python-platform $(LAMBDA_ARCH)-manylinux_2_28 \
		--only-binary :all: --no-deps --require-hashes --requirement requirements-runtime.txt
	@$(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir $(LAMBDA).wheel
	@$(BIN)/uv pip install --quiet --python $(LAMBDA_PYTHON) --target $(LAMBDA) --no-deps --no-index $(LAMBDA).wheel/*.whl
	@rm -rf $(LAMBDA).wheel $(LAMBDA)/bin $(LAMBDA)/setuptools* $(LAMBDA)/_distutils_hack $(LAMBDA)/distutils-precedence.pth
	@$(LAMBDA_PYTHON) -m compileall -q -j 0 --invalidation-mode unchecked-hash $(LAMBDA)
	@$(BIN)/python -c 'import shutil, sys; shutil.make_archive(sys.argv[1], "zip", sys.argv[2])' $(DIST)/lambda $(LAMBDA)
	@echo "$(LAMBDA) and $(DIST)/lambda.zip are for $$($(LAMBDA_PYTHON) --version) on $(LAMBDA_ARCH)"

manifests: ## deploy/kubernetes anew from the chart (needs helm)
	@PATH=$(CURDIR)/.venv/validators/bin:$$PATH helm template dynaview deploy/helm/dynaview --namespace dynaview --kube-version 1.31.0 > deploy/kubernetes/dynaview.yaml

deploy-check: $(READY) $(TOOLS)/.ready ## all that deploy/ holds, by the validators of its kinds (helm, promtool, actionlint, …)
	@.ci/validators
	@$(BIN)/pytest -q tests/packaging/test_deploy.py tests/packaging/test_validators.py

screenshots: $(READY) ## the pictures of the page in docs/images (needs Chromium)
	@$(BIN)/python -m tests.views.http.browser.screenshots

bench-quick: $(READY) ## every benchmark at its smallest, for its exit code
	@$(BIN)/python -m benchmarks.quick

bench-instructions: $(READY) ## instructions of the pure paths against their baseline, counted by valgrind
	@$(BIN)/python -m benchmarks.instructions

bench-compare: $(READY) ## this tree against a commit in pairs, as ratios with intervals: make bench-compare BASE=<commit>
	@$(BIN)/python -m benchmarks.compare --base $(BASE) $(BENCH)

lock: .venv/.uv ## resolve pyproject.toml again into the locks (names and hashes only)
	@$(LOCK) pyproject.toml --extra local --extra otel --group dev --upgrade --output-file requirements.txt
	@$(LOCK) --group tools --upgrade --output-file requirements-tools.txt
	@$(LOCK) pyproject.toml --group build --constraints requirements.txt $(UNUSED:%=--no-emit-package %) --output-file requirements-runtime.txt

clean: ## remove the environment and what tools left behind
	@rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .dynaview

# uv itself comes from the lock too: its entry is cut out of requirements.txt for pip.
.venv/.uv:
	@for each in $(PYTHON); do \
		"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && python="$$each" && break; \
	done; \
	test "$$python" || { echo "dynaview needs Python 3.11 or newer; this machine has none under the names: $(PYTHON)." >&2; \
		echo "Say where it is: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }; \
	echo "Creating .venv with $$($$python --version) and fetching uv from PyPI (about 25 MB)"; \
	"$$python" -m venv --clear .venv || { rm -rf .venv; \
		echo "$$python could not make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@awk '/^[^ #]/ { uv = /^uv==/ } uv' requirements.txt > .venv/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/uv.txt \
		|| { echo "uv could not be fetched from PyPI: is the network there?" >&2; exit 1; }
	@touch $@

$(TOOLS)/.ready: .venv/.uv requirements-tools.txt
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv/tools
	@$(BIN)/uv pip sync --quiet --python $(TOOLS)/python --require-hashes requirements-tools.txt \
		|| { echo "The tools could not be fetched from PyPI: is the network there?" >&2; exit 1; }
	@touch $@

# The installed package is a tree of links, so a new file wants a new installation.
$(READY): .venv/.uv pyproject.toml requirements.txt $(shell find $(ROOMS) -type d -not -name __pycache__)
	@echo "Installing the locked dependencies from PyPI (about 130 MB the first time)"
	@$(BIN)/uv pip sync --python $(BIN)/python --require-hashes requirements.txt \
		|| { echo "The dependencies could not be fetched from PyPI: is the network there?" >&2; exit 1; }
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --reinstall-package dynaview --editable .
	@touch $@

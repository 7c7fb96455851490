# Two commands do everything: `make up` and `make test`. Each target sets up what it needs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
VENV := .venv
UV := .cache/uv/bin/uv
WHERRY := $(VENV)/bin/wherry
DATA ?= /var/lib/wherry
NODES ?=
export UV_PROJECT_ENVIRONMENT := $(VENV)
# Bytecode is made once and not by each of fifteen processes at every start, even where PYTHONDONTWRITEBYTECODE keeps
# Python from doing it by itself: two seconds and three megabytes for each.
export UV_COMPILE_BYTECODE := 1
BYTECODE := $(VENV)/bin/python -m compileall -q services shared || :

.PHONY: up down status test test-vm lint check bench bench-api bench-node fuzz tools clients busybox

up: $(VENV)/.run busybox
	@$(BYTECODE)
	@$(WHERRY) check >/dev/null || { $(WHERRY) check; exit 1; }
	@$(WHERRY) up --data $(DATA) $(if $(NODES),--nodes $(NODES)) --example deploy/examples

down:
	@if [ -x $(WHERRY) ]; then $(WHERRY) down --data $(DATA) $(if $(filter 1,$(WIPE)),--wipe); else echo "nothing was ever started here"; fi

status: $(VENV)/.run
	@$(WHERRY) status --data $(DATA)

test: $(VENV)/.dev tools
	@$(BYTECODE)
	$(VENV)/bin/python -m tests

test-vm: $(VENV)/.dev tools
	WHERRY_TEST_VM_CLUSTER=1 $(VENV)/bin/pytest tests/vm

lint: $(VENV)/.dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

check: lint
	$(VENV)/bin/pytest -q tests/unit

bench: $(VENV)/.dev tools
	@$(BYTECODE)
	$(VENV)/bin/python -m tests.bench

# the API server alone, beside kube-apiserver's figures; WORKERS=1,2 SCALE=1
bench-api: $(VENV)/.dev
	@$(BYTECODE)
	$(VENV)/bin/python -m tests.bench.api --workers $(or $(WORKERS),1,2) --scale $(or $(SCALE),1)

# search for requests that break the server, in TARGET (default: each in turn) for FUZZ_SECONDS (default 60)
fuzz: $(VENV)/.dev
	for target in $(or $(TARGET),$$($(VENV)/bin/python -c 'from tests.fuzz.targets import TARGETS; print(*TARGETS)')); do \
		$(VENV)/bin/python -m tests.fuzz $$target $(or $(FUZZ_SECONDS),60); \
	done

bench-node: $(VENV)/.dev tools
	@$(BYTECODE)
	$(VENV)/bin/python -m tests.bench.node

# uv makes the environment with exactly the locked versions; the stamp files tell when that must be done again.
# Debian ships venv as a package of its own, so a fresh machine may lack it.
$(UV):
	@echo "setting up an environment for Python in $(VENV), once: about a minute"
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv; }
	@python3 -m venv .cache/uv
	@.cache/uv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9

$(VENV)/.run: pyproject.toml uv.lock | $(UV)
	@$(UV) sync --quiet --frozen --no-dev --inexact
	@touch $@

$(VENV)/.dev: pyproject.toml uv.lock | $(UV)
	@$(UV) sync --quiet --frozen
	@touch $@ $(VENV)/.run

busybox:
	@command -v busybox >/dev/null || { echo "installing busybox-static for the example's image"; apt-get update -qq && apt-get install -y -qq busybox-static; }

tools:
	@tests/tools

# kubectl and helm in .cache/tools, for who has none
clients:
	@tests/tools clients

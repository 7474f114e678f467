# Thin: every target is one or two commands that can also be typed. `make help` lists them.

WORKERS ?= 5
ARGS ?=
SOAK ?= 10m
STORM ?= 5m

# Without cached bytecode each worker compiles all test modules again: 4 s of CPU.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -q
TIERS := integration pid1 load browser budget container e2e
# What measures traffic needs a quieter machine than the other tests leave it.
QUIET := tests/load tests/doubles/test_soak.py
IMAGE_TESTS := tests/container tests/pid1 tests/integration
IN_IMAGE = AUTOEXIT_SUBJECT=image AUTOEXIT_IMAGE=$(IMAGE) $(PYTEST)

.DEFAULT_GOAL := help
.PHONY: help setup run test test-all failed unit $(TIERS) screenshots coverage bench soak old steps onefile image fmt lint style type arch docs lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9 ]+:.*## / { printf "  %-34s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  variables: WORKERS=5 (tests at a time), ARGS= (for pytest, bench, soak), PYTHON= (for the set-up),'
	@echo '             SOAK=10m, NGINX_IMAGE= (the base of the image), ENGINE= (docker or podman)'

setup: .venv/ready ## virtual environment and nginx; again only when a lock changed
	@:

.venv/ready: requirements-dev.lock pyproject.toml tools/setup tools/apt-install
	@tools/setup
	@touch $@

run: setup ## see it work: three replicas, a reload, a deadline, exit 0
	@$(BIN)/autoexit-nginx demo

test: setup ## one run on one nginx: without load tests, slow tests and tests of the test doubles
	@$(PYTEST) -n $(WORKERS) --select quick --cov --cov-report=term $(ARGS)

test-all: setup ## everything but container and e2e; durations go to build/*.xml
	@$(PYTEST) -n $(WORKERS) --select all --cov --cov-report=term --junitxml=build/tests.xml $(addprefix --ignore=,$(QUIET)) $(ARGS); \
		others=$$?; $(PYTEST) -n 3 --select all --junitxml=build/load.xml $(QUIET) $(ARGS) && exit $$others

failed: setup ## what failed in the last run, alone
	@$(PYTEST) --last-failed --last-failed-no-failures none tests $(ARGS)

unit: setup ## pure code: no process, no sleep
	@$(PYTEST) tests/unit $(ARGS)

integration pid1: setup ## real nginx; the same as PID 1
	@$(PYTEST) -n $(WORKERS) tests/$@ $(ARGS)

load: setup ## changes under traffic, limits reached, blackouts; prints what it measured
	@$(PYTEST) -s tests/$@ $(ARGS)

browser: setup ## the status page in a headless chromium, installed if root and there is none
	@command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || tools/apt-install chromium
	@$(PYTEST) -n $(WORKERS) tests/$@ $(ARGS)

screenshots: setup ## take the pictures of the status page in docs/images again
	@SCREENSHOTS=docs/images $(PYTEST) -o faulthandler_timeout=0 tests/browser -k follows_the_changes $(ARGS)

budget: setup ## memory and start-up
	@$(PYTEST) tests/$@ $(ARGS)

e2e: setup ## real Nomad agents run the files in jobs/ and the contract (NOMAD=FILE, IMAGE=NAME pick)
	@rm -f build/steps.json
	@AUTOEXIT_STEPS=build/steps.json $(PYTEST) -m e2e -rfEsP tests/contract tests/e2e $(ARGS)

steps: setup ## results of the last `make e2e` for the pattern being replaced, for docs/migrating.md
	@$(BIN)/python -m tools.steps

coverage: setup ## branch coverage of the unit tier
	@$(PYTEST) --cov --cov-report=term tests/unit $(ARGS)

bench: setup ## measure beside the peers, and show what moved since the last committed run (ARGS=--save)
	@$(BIN)/python -m benchmarks $(ARGS)

soak: setup ## ten minutes (SOAK=24h) of changes and traffic, checking for growth; Nomad unavailable for ten; then five (STORM=) of random faults on each nginx (SEED=)
	@AWAY=600 $(PYTEST) -o faulthandler_timeout=0 -k A02 tests/integration/nomad/test_api_down.py & away=$$!; \
		RELOADS=2000 $(PYTEST) -o faulthandler_timeout=0 -k many_reloads tests/integration/nginx/test_early_quit.py; reloaded=$$?; \
		$(BIN)/python -m benchmarks.soak $(SOAK) $(ARGS); soaked=$$?; wait $$away || soaked=1; [ $$reloaded = 0 ] || soaked=1; \
		$(BIN)/python -m benchmarks.storm $(STORM) $(if $(SEED),--seed $(SEED)) $(ARGS) && exit $$soaked

old: setup ## the cases P, D, F against the pattern being replaced, for docs/migrating.md
	@WORKERS=$(WORKERS) $(BIN)/python -m tools.old $(ARGS)

onefile: setup ## dist/autoexit.pyz: `exec` for any image with Python 3.9 or newer
	@$(BIN)/python -m tools.onefile

image: ## build the container image, tagged with its version, and print its size
	@tools/image

container: setup ## build the image and run its tests in it (IMAGE= tests one that is there)
	@[ -n "$(IMAGE)" ] || tools/image
	@$(IN_IMAGE) -n 2 $(IMAGE_TESTS) $(ARGS)

fmt: setup ## format, and mend what can be mended
	@$(BIN)/ruff format --quiet
	@$(BIN)/ruff check --quiet --fix

lint: style type arch ## all of the three below

style: setup ## ruff
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --quiet --check

type: setup ## mypy
	@$(BIN)/mypy

arch: setup ## imports only go down
	@$(BIN)/lint-imports --no-logo

docs: setup ## regenerate the generated parts of README and docs/
	@$(BIN)/python -m tools.docs

lock: ## resolve the dependencies again (needs uv; ARGS=--upgrade takes what is new)
	@tools/lock $(ARGS)

clean: ## remove all that the targets above made here
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* build dist
	@find supervisor tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

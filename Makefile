# The umbrella of ten independent projects, each a folder X with a setup.py.
#
#   make setup          make the environment, with every project editable
#   make demo           run every demo into runs/, then the table of all claims and runs/index.html
#   make demo-X         run one demo into runs/X
#   make reproduce-X    measure what the README of X quotes, into runs/X-reproduce
#   make test-all       run the umbrella's tests and every project's, one process each
#   make test-X         run the tests of X
#   make bench-X        run every benchmark of X
#   make build-X        build the wheel of X into X/dist
#   make isolated-X     install that wheel alone in a fresh environment and run its tests there
#   make lint           run ruff
#   make docs           write the pages of every project's public names, from their docstrings, into runs/docs
#   make clean          remove what builds and tests left behind; runs/ and the environment stay
#   make help           show this
#
#   PYTHON=python3 and VENV=.venv name the interpreter and the environment, PIP_ARGS is handed to pip install;
#   DEMO_ARGS, REPRODUCE_ARGS, TEST_ARGS and BENCH_ARGS are handed on (make demo DEMO_ARGS=--fast).

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
DEMO_ARGS ?=
REPRODUCE_ARGS ?=
TEST_ARGS ?=
BENCH_ARGS ?=
override VENV := $(patsubst ~/%,$(HOME)/%,$(VENV))

PROJECTS := $(patsubst %/setup.py,%,$(wildcard */setup.py))
SETUP = @"$(PYTHON)" tools/setup_env.py --venv "$(VENV)"
RUN = @"$(VENV)/bin/python" tools/run.py --venv "$(VENV)"

.NOTPARALLEL:
.PHONY: help setup setup-test demo test-all lint docs clean
.PHONY: $(foreach verb,demo reproduce test bench build isolated,$(PROJECTS:%=$(verb)-%))

help:
	@sed -n 's/^#$$//p; s/^#   //p' Makefile
	@echo "X is one of: $(PROJECTS)"

setup:
	$(SETUP) -- $(PIP_ARGS)

setup-test:
	$(SETUP) --test -- $(PIP_ARGS)

demo: setup
	$(RUN) demo -- $(DEMO_ARGS)

test-all: setup-test
	$(RUN) test-all -- $(TEST_ARGS)

lint: setup-test
	@"$(VENV)/bin/ruff" check .

docs: setup-test
	@"$(VENV)/bin/python" tools/docs.py

clean:
	@rm -rf */build */dist */*.egg-info */src/*.egg-info .ruff_cache .pytest_cache */.pytest_cache
	@find tools tests $(PROJECTS) -name __pycache__ -prune -exec rm -rf {} +

$(PROJECTS:%=demo-%): demo-%: setup
	$(RUN) --project $* demo -- $(DEMO_ARGS)

$(PROJECTS:%=reproduce-%): reproduce-%: setup
	$(RUN) --project $* reproduce -- $(REPRODUCE_ARGS)

$(PROJECTS:%=test-%): test-%: setup-test
	$(RUN) --project $* test -- $(TEST_ARGS)

# The test set-up: what a project is compared with may be among its test extras.
$(PROJECTS:%=bench-%): bench-%: setup-test
	$(RUN) --project $* bench -- $(BENCH_ARGS)

$(PROJECTS:%=build-%): build-%: setup
	$(RUN) --project $* build -- $(PIP_ARGS)

$(PROJECTS:%=isolated-%): isolated-%: setup
	$(RUN) --project $* isolated -- $(PIP_ARGS)

demo-% reproduce-% test-% bench-% build-% isolated-%:
	@echo "There is no project $*; there are: $(PROJECTS)" >&2; exit 2

# Everything sets itself up; only Docker Engine, Python 3.11 or newer and make must be there.
#   make demo    the main job, live, in under three minutes
#   make test    everything there is to check
#   make check   the quick part of it, without Docker
#   make bench   the measurements, each table as soon as it is there; make bench ONLY=latency measures one part
#   make fuzz    foreign bytes into every parser, ten minutes in all; SECONDS=60 makes it shorter
#   make properties  what must hold for all inputs, tried with many that differ each time, not with the same few
#   make differential  10,000 random chains, and every root of this system: what certferry says of them beside what OpenSSL says
#   make soak    5,000 renewals and 5,000 containers that come and go, and the memory they leave behind
#   make campaign  random faults against a certferry and six mail containers, 20 minutes; make campaign FOR=300 SEED=7
#   make image   certferry's own image, certferry:latest

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
# Files of tests with real containers that run at a time; most of their time is waiting.
AT_ONCE ?= 4
# Unit tests that run at a time; many of them wait for a limit or a process.
UNITS_AT_ONCE ?= 4
# How long make fuzz takes in all.
SECONDS ?= 600

# How long make campaign takes in seconds, and what decides its faults.
FOR ?= 1200
SEED ?= 1

# How many worlds make differential compares, and what decides them; a difference tells its seed.
WORLDS ?= 10000
FIRST ?=

# For bench: the parts that are measured, all when none is named.
ONLY ?=
# What these inputs cost is judged; measuring which branches are taken costs as much again.
COSTS = tests/unit/test_fuzz_corpus.py tests/unit/x509/test_bundles_cost.py
# Decide without waiting for anything; every branch of them is tested.
PURE = controller/domain/*,controller/adoption.py,controller/attempts.py,controller/endings.py,controller/expiry.py,controller/labels.py,controller/label_values.py,controller/policies.py,controller/reasons.py,controller/remarks.py,controller/renewals.py,controller/renewers.py,controller/resting.py,controller/rollback.py,controller/selection.py,controller/targets.py,controller/workqueue.py
# Under another name, so that make -n does not run these lines.
AGAIN = $(MAKE) --no-print-directory
# After a command in the background: it ends with the recipe, whatever happens.
BESIDE = trap 'exit 130' INT TERM; trap 'kill $$beside 2>/dev/null' EXIT; beside=$$!;

.PHONY: demo test check lint types floors unit coverage engine docker bench fuzz properties differential soak campaign image images docs clean

$(VENV)/installed: extras = [dev]
$(VENV)/installed $(VENV)/runs: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "certferry needs Python 3.11 or newer; set PYTHON=…" >&2; exit 1; }
	@test -x $(RUN)/python || $(PYTHON) -m venv $(VENV) || { echo "install Python's venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "installing Python packages into $(VENV); this takes up to a minute" >&2
	@$(RUN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.$(extras)'
	@touch $(VENV)/runs $@

# The base image is made while the packages are installed; the packages for tests are not wanted.
demo:
	@deploy/base-image.sh & $(BESIDE) $(AGAIN) $(VENV)/runs && wait $$beside && $(RUN)/python -m tests.demo

# The images are built while everything that needs none of them runs.
test: docker
	@tests/images/build.sh & $(BESIDE) $(AGAIN) check MEASURED="--cov --cov-report=" && wait $$beside
	@$(AGAIN) coverage
	@$(AGAIN) engine

check: lint types floors unit

lint: $(VENV)/installed
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types: $(VENV)/installed
	$(RUN)/mypy

floors: $(VENV)/installed
	$(RUN)/lint-imports

unit: $(VENV)/installed
	$(RUN)/pytest -q -n $(UNITS_AT_ONCE) $(MEASURED) $(COSTS:%=--ignore %) tests/unit
	$(RUN)/pytest -q -n auto $(COSTS)

# Of the unit tests that make test has run.
coverage: $(VENV)/installed
	$(RUN)/coverage report
	$(RUN)/coverage report --include="$(PURE)" --fail-under=100

engine: docker $(VENV)/installed
	tests/images/build.sh
	$(RUN)/pytest -q -n $(AT_ONCE) --dist loadfile --no-loadscope-reorder tests/engine

docker:
	@docker info >/dev/null 2>&1 || { echo "no Docker Engine answers; these tests need a real one (docker info says why)" >&2; exit 1; }

bench: docker $(VENV)/installed
	@$(RUN)/python -m tests.bench $(ONLY)

fuzz: $(VENV)/installed
	@$(RUN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,fuzz]'
	@$(RUN)/python -m tests.fuzz $(SECONDS)

properties: $(VENV)/installed
	$(RUN)/pytest -q -n $(UNITS_AT_ONCE) -m hypothesis --hypothesis-profile many tests/unit

differential: $(VENV)/installed
	@$(RUN)/python -m tests.differential $(WORLDS) $(FIRST)

soak: $(VENV)/installed
	@$(RUN)/python -m tests.soak

campaign: docker $(VENV)/installed
	@$(RUN)/python -m tests.campaign $(FOR) $(SEED)

image:
	deploy/build-image.sh

images: image
	tests/images/build.sh

docs: $(VENV)/installed
	$(RUN)/python docs/tables.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz .import_linter_cache .coverage

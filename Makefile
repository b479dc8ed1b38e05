# Everything sets itself up; only Docker Engine, Python 3.11 or newer and make must be there.
#   make demo    the main job, live, in under three minutes
#   make test    everything there is to check
#   make check   the quick part of it, without Docker
#   make bench   the measurements
#   make fuzz    foreign bytes into every parser, ten minutes in all; SECONDS=60 makes it shorter
#   make image   certferry's own image, certferry:latest

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
# Files of tests with real containers that run at a time; most of their time is waiting.
AT_ONCE ?= 3
# How long make fuzz takes in all.
SECONDS ?= 600

.PHONY: demo test check lint types floors unit engine bench fuzz image images docs clean

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "certferry needs Python 3.11 or newer; set PYTHON=…" >&2; exit 1; }
	@test -x $(RUN)/python || $(PYTHON) -m venv $(VENV) || { echo "install Python's venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "installing Python packages into $(VENV); this takes up to a minute" >&2
	@$(RUN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/installed
	@$(RUN)/python -m tests.demo

test: check engine

check: lint types floors unit

lint: $(VENV)/installed
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types: $(VENV)/installed
	$(RUN)/mypy

floors: $(VENV)/installed
	$(RUN)/lint-imports

unit: $(VENV)/installed
	$(RUN)/pytest -q -n auto tests/unit

engine: $(VENV)/installed
	@docker info >/dev/null 2>&1 || { echo "no Docker Engine answers; these tests need a real one (docker info says why)" >&2; exit 1; }
	tests/images/build.sh
	$(RUN)/pytest -q -n $(AT_ONCE) --dist loadfile tests/engine

bench: $(VENV)/installed
	@$(RUN)/python -m tests.bench

fuzz: $(VENV)/installed
	@$(RUN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,fuzz]'
	@$(RUN)/python -m tests.fuzz $(SECONDS)

image:
	deploy/build-image.sh

images: image
	tests/images/build.sh

docs: $(VENV)/installed
	$(RUN)/python docs/tables.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz .import_linter_cache

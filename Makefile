# Every target works from an empty machine with GNU make and Python 3.11 or newer.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
SEEDS ?= 0
# Arms of bench-hack instead of the usual ones, see trainer/demo/plans.py.
ARMS ?=
FULL ?=
# How often a benchmark repeats its audits.
REPLICATES ?= 1000
# How many test processes, each with a database of its own: make test JOBS=0 for one, in sight.
JOBS ?= auto
# More arguments for pytest: make test ARGS="-k lease"
ARGS ?=

python := .venv/bin/python
pip_install := $(python) -m pip install --quiet --disable-pip-version-check
inputs := pyproject.toml constraints.txt
html := find templates -name '*.html'

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help install demo test explore test-integrations test-vllm check fmt-check lint types imports \
	templates migrations deploy fix loop bench-advantages bench-coverage bench-desk bench-draw \
	bench-evouna bench-hack bench-ingest bench-judges bench-queue bench-render bench-train bench-verify \
	screenshots browser sandbox openapi

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Each stamp is the last line of its recipe, so that an install that failed or was stopped has none.
.venv/pip.stamp:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: set PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, not " + sys.version.split()[0] + ": set PYTHON=/path/to/python3" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(pip_install) pip==25.3
	@touch $@

.venv/demo.stamp: $(inputs) | .venv/pip.stamp
	@echo "Installing the server and the trainer: some minutes the first time."
	$(pip_install) -c constraints.txt -e '.[web,trainer]'
	@touch $@

.venv/dev.stamp: .venv/demo.stamp
	@echo "Installing the development tools."
	$(pip_install) -c constraints.txt --group dev
	@touch $@

install: .venv/dev.stamp ## install everything into .venv

demo: .venv/demo.stamp ## the whole story on this machine: server, two training runs, an audit
	$(python) manage.py demo

test: .venv/dev.stamp browser sandbox ## run the tests
	@# A file's tests stay together: they share what is dear to set up.
	$(python) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

explore: .venv/dev.stamp sandbox ## run the property tests on examples that no run has seen
	$(python) -m pytest -n $(JOBS) --dist loadfile -m hypothesis --hypothesis-profile explore $(ARGS)

static_checks := fmt-check lint types imports templates migrations deploy

apart := .venv-integrations
apart_tests := tests/trainer/integrations/apart

# OpenRLHF wants CUDA to be installed: of its wheel one file is read.
$(apart)/stamp: $(apart_tests)/requirements.txt
	@echo "Installing verl and others into an environment of their own: 2 GB."
	$(PYTHON) -m venv --clear $(apart)
	$(apart)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	$(apart)/bin/python -m pip download --quiet --disable-pip-version-check --no-deps \
		--dest $(apart)/openrlhf openrlhf==0.11.2
	$(apart)/bin/python -m zipfile -e $(apart)/openrlhf/*.whl $(apart)/openrlhf
	@touch $@

test-integrations: $(apart)/stamp ## run the tests of trainers that cannot be installed beside ours
	OPENRLHF_SOURCE=$$(echo $(apart)/openrlhf/*.data/purelib) $(apart)/bin/python -m pytest \
		-c $(apart_tests)/pytest.ini --confcutdir=tests/trainer/integrations $(apart_tests)

vllm := .venv-vllm
vllm_tests := tests/trainer/engines

# Of what comes with it, images and sound do not load beside a torch for CPUs; nothing here needs them.
$(vllm)/stamp: $(vllm_tests)/requirements.txt
	@echo "Installing vLLM into an environment of its own: 3 GB."
	$(PYTHON) -m venv --clear $(vllm)
	$(vllm)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	$(vllm)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

test-vllm: $(vllm)/stamp ## run the tests of sampling by vLLM, which cannot be installed beside ours
	$(vllm)/bin/python -m pytest -c $(vllm_tests)/pytest.ini --confcutdir=$(vllm_tests) $(vllm_tests)

check: $(static_checks) ## everything that must hold: format, lint, types, layers, ..., tests
	$(MAKE) test

fmt-check: .venv/dev.stamp
	$(python) -m ruff format --check .

lint: .venv/dev.stamp
	$(python) -m ruff check .

# The Django plugin reads the settings, which want a key.
types: .venv/dev.stamp
	SECRET_KEY=types $(python) -m mypy

imports: .venv/dev.stamp
	.venv/bin/lint-imports

templates: .venv/dev.stamp
	$(html) -exec .venv/bin/djade --check {} +

migrations: .venv/dev.stamp
	$(python) manage.py makemigrations --check --dry-run

deploy: .venv/dev.stamp
	HTTPS=true $(python) manage.py check --deploy --fail-level WARNING

fix: .venv/dev.stamp ## format the code and the templates, and fix what can be fixed by itself
	$(python) -m ruff check --fix --exit-zero .
	$(python) -m ruff format .
	@# Its exit status says that it changed something.
	$(html) -exec .venv/bin/djade {} + || true

loop: .venv/demo.stamp ## the closed loop, measured for SEEDS="0 1 2"
	$(python) manage.py loop --seeds $(SEEDS)

bench-hack: SEEDS = 0 1 2 3 4
bench-hack: .venv/demo.stamp ## does calibration help? FULL=1: every arm, hours; ARMS=raw,true: these
	$(python) manage.py loop --comparison hack$(if $(FULL),-full) --arms "$(ARMS)" \
		--seeds $(SEEDS) --out hack

bench-advantages: .venv/dev.stamp ## how near do calibrated rewards bring advantages to the true ones?
	$(python) -m tests.bench.advantages

bench-coverage: .venv/dev.stamp ## do intervals hold what they promise? REPLICATES=1000 simulated audits
	$(python) -m tests.bench.coverage --replicates $(REPLICATES)

bench-draw: .venv/dev.stamp ## do previews, draws and estimates grow with the frame? 1 against 10 million
	$(python) -m tests.bench.draw

bench-render: .venv/dev.stamp ## do all real completions render, in time and with their formulas?
	$(python) -m tests.bench.render

bench-ingest: .venv/dev.stamp ## a million rows imported, against a raw COPY of them; labels out
	$(python) -m tests.bench.ingest

bench-evouna: .venv/dev.stamp ## REPLICATES=1000 audits of EVOUNA through the services, against the truth
	$(python) -m tests.bench.evouna --replicates $(REPLICATES)

bench-train: .venv/dev.stamp ## how fast, and in how much memory, does the trainer train beside TRL's?
	$(python) -m tests.bench.train

bench-desk: .venv/dev.stamp browser ## from a commit to the next rollout painted, while 7 others label
	$(python) -m tests.bench.desk

bench-queue: .venv/dev.stamp ## take and commit with 1,000 to 1,000,000 open items, and a race for them
	$(python) -m tests.bench.queue

bench-verify: .venv/dev.stamp ## how good, how fast and how hard to break are the verifiers?
	$(python) -m tests.bench.verify

bench-judges: .venv/dev.stamp ## what stops the probe suite before a judge, whatever the judge
	$(python) -m tests.bench.judges

screenshots: .venv/dev.stamp browser ## pictures of the main pages, in shots/
	$(python) -m pytest tests/e2e -m screenshots

browser: ## install Debian's Chromium for the browser tests (as root)
	@if command -v chromium >/dev/null; then \
		echo "chromium is installed"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update && apt-get install -y --no-install-recommends chromium \
			|| echo "Chromium could not be installed: the browser tests will be skipped."; \
	else \
		echo "No chromium here and no way to install it: the browser tests will be skipped."; \
	fi

sandbox: ## install Debian's bubblewrap, in which the code verifier runs programs (as root)
	@if command -v bwrap >/dev/null; then \
		echo "bubblewrap is installed"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update && apt-get install -y --no-install-recommends bubblewrap \
			|| echo "bubblewrap could not be installed: the tests of the code verifier will be skipped."; \
	else \
		echo "No bubblewrap here and no way to install it: the tests of the code verifier will be skipped."; \
	fi

openapi: .venv/dev.stamp ## write the API's schema
	$(python) manage.py spectacular --validate --fail-on-warn --file review/api/v1/openapi.yaml

# The two lines a stranger needs: `make demo` and `make test`. Each sets up all that it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
URL ?= http://127.0.0.1:8000
DEMO := build/demo

# FRESH=1 throws away what an earlier run left, the environment included.
ifdef FRESH
$(shell rm -rf $(VENV) $(DEMO))
endif

.DEFAULT_GOAL := help
.PHONY: help demo demo-once test check format lint types imports loadtest dashboards clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

demo: $(VENV)/.demo  ## train, export and serve on flight data, then stay up until Ctrl-C
	$(BIN)/elastier demo --install-seconds $$(cat $<)

demo-once: $(VENV)/.demo  ## the same, send 200 requests, write build/demo.json and end
	$(BIN)/elastier demo --once --install-seconds $$(cat $<)

test: $(VENV)/.dev  ## run all tests
	$(BIN)/python -m pytest -q

check: format lint types imports test  ## what CI runs: format, lint, types, import rules, tests

format: $(VENV)/.dev
	$(BIN)/ruff format --check .

lint: $(VENV)/.dev
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy .

imports: $(VENV)/.dev
	$(BIN)/lint-imports

loadtest: $(VENV)/.demo  ## 30 s of open-loop load against the server that `make demo` keeps up (URL=...)
	$(BIN)/elastier loadtest $(URL) --bundle $(DEMO)/bundle --fraction-of-capacity 0.5 --seconds 30 \
		--rows 200 --budgets 3x,10x,30x --out build/loadtest

dashboards: $(VENV)/.dev  ## write deploy/grafana/dashboards/*.json anew from their code
	$(BIN)/python deploy/grafana/build_dashboards.py

clean:  ## remove what was built, but not the environment
	rm -rf build dist

# Each extra is installed once and again when pyproject.toml changes; the stamp holds the seconds it took.
$(VENV)/.demo $(VENV)/.dev: $(VENV)/.%: pyproject.toml
	@start=$$(date +%s) && set -e; \
	$(PYTHON) -c 'import sys; sys.exit("expected Python 3.11 or newer, got " + sys.version if sys.version_info < (3, 11) else 0)'; \
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV); \
	echo "installing elastier[$*] into $(VENV)"; \
	$(BIN)/python -m pip install --disable-pip-version-check --prefer-binary --editable '.[$*]' $(PIP_FLAGS); \
	echo $$(( $$(date +%s) - start )) > $@

# Two commands do everything: `make run` and `make test`. Both set up .venv first; nothing else is installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help run test check unit clean

help:
	@echo 'make run    start the sandbox shop with Vestibule and the Kibo example rules in front of it'
	@echo 'make test   every check and every test'
	@echo 'make check  formatting, lint and types'
	@echo 'make unit   the tests alone'
	@echo 'make clean  remove what was built'

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Vestibule needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

run: $(STAMP)
	$(BIN)/vestibule run --listen 127.0.0.1:8080 --upstream sandbox:kibo --rules rules/kibo

test: check unit

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/vestibule check --strict rules/kibo
	$(BIN)/vestibule test rules

unit: $(STAMP)
	$(BIN)/pytest --numprocesses 2 --dist loadgroup

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

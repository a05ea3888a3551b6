# Two commands on a fresh machine: `make demo` and `make test`. Each makes its own environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV := $(shell command -v uv 2>/dev/null)

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses=2 --dist=loadfile
# Tests under which coverage is measured. It makes Python take two thirds longer, so those that compute go without.
COVERED := tests/unit tests/integration tests/databases tests/faults/test_snapshot.py \
	$(patsubst %,tests/service/test_%.py,access backup guard hidden_rows preview_jobs webhooks)

# The tests start hundreds of processes: without stored bytecode each would compile torch anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test engines docs quick lint fix bench clean

demo: $(STAMP)
	rm -rf demo
	$(BIN)/unledger demo demo

test: $(STAMP) lint
	$(PYTEST) $(COVERED) --cov --cov-report=
	$(BIN)/python tests/check_coverage.py
	$(PYTEST) $(COVERED:%=--ignore=%)

# Requests on a Ray and on a Dask cluster of this machine, with workers killed: minutes. Installs both first, 300 MB.
engines: $(VENV)/.engines
	OMP_NUM_THREADS=1 ENGINES=required timeout 480 $(BIN)/python -m pytest -q tests/engines

# The documentation as a site, build/docs/index.html. A link that leads nowhere fails it.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html -c docs -d build/doctrees . build/docs

# A fast sample, for every push: lint, and the tests that take no more than seconds.
quick: $(STAMP) lint
	$(PYTEST) -m "not slow" tests/unit tests/structure

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The benchmarks that need no data, with small sizes: a few minutes. docs/benchmarks.md names those at full size.
bench: $(STAMP)
	$(BIN)/python benchmarks/audit_scale.py --leaves 20000 --requests 2000 --databases sqlite
	$(BIN)/python benchmarks/filing.py --requests 1000 10000
	$(BIN)/python benchmarks/certificates.py --count 100 --log 10000
	$(BIN)/python benchmarks/orders.py --permutations 3 --operations 20
	$(BIN)/python benchmarks/collection.py --rounds 1
	$(BIN)/python benchmarks/layouts.py --repeats 3

$(STAMP): pyproject.toml
ifdef UV
	test -d $(VENV) || uv venv --quiet --seed --python $(PYTHON) $(VENV)
	VIRTUAL_ENV=$(VENV) uv pip install --quiet --compile-bytecode -e '.[all]' --group dev
else
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet -e '.[all]' --group dev
endif
	touch $@

$(VENV)/.engines $(VENV)/.docs: $(VENV)/.%: $(STAMP)
ifdef UV
	VIRTUAL_ENV=$(VENV) uv pip install --quiet --group $*
else
	$(BIN)/python -m pip install --quiet --group $*
endif
	touch $@

clean:
	rm -rf $(VENV) demo build dist *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

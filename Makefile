# make demo   the whole story on pictures made here, no download but the packages
# make test   set up a virtual environment of its own and run every check
# make bench  how fast it is here; python -m benchmarks and python -m benchmarks.peers write reports
# make docs   the documentation, docs/_build/html/index.html; every warning is an error
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
UV     := $(shell command -v uv 2>/dev/null)

.PHONY: demo test check lint types bench docs clean

ifdef UV
INSTALL = $(UV) pip install --quiet --python $(BIN)/python
else
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif

$(VENV)/.installed: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the packages into $(VENV) ..."
	$(INSTALL) -e '.[dev]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/captioning demo

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

check: $(VENV)/.installed
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 8 --dist loadfile

test: lint types check

bench: $(VENV)/.installed
	$(BIN)/python -m pytest benchmarks/suites --benchmark-only --benchmark-max-time 0.2 --benchmark-min-rounds 3 -q \
	    --benchmark-columns min,median,iqr,rounds --benchmark-group-by group

$(VENV)/.docs: $(VENV)/.installed
	$(INSTALL) -e '.[docs]'
	@touch $@

docs: $(VENV)/.docs
	@rm -rf docs/generated
	$(BIN)/python -m sphinx -b html -q -W --keep-going docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf $(VENV) build docs/_build docs/generated *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

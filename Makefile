# `make demo` and `make test` set up all they need: a virtual environment in .venv with the pinned versions.
PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.fastreid-ext
# The files of tests are shared among processes of one thread each: the tensors are small. There is one process more than
# cores, since tests wait for processes of their own. All of them import all files, which takes half the time where the
# compiled ones may be kept.
COUNT  := min(4, 1 + (os.cpu_count() or 1))
TESTS   = OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(PY) -m pytest \
          --numprocesses $(shell $(PYTHON) -c "import os; print($(COUNT))") --dist loadfile --no-loadscope-reorder

# Trackers that the tests give features to. They want opencv-python, which would overwrite opencv-python-headless, so what
# else supervision imports is named here; without them those tests are skipped.
TRACKERS = deep-sort-realtime==1.3.2 supervision==0.31.2 defusedxml==0.7.1 pydeprecate==0.13.0

.PHONY: venv demo test test-fast test-matrix lint docs bench

venv: $(STAMP)

$(STAMP): setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps fastreid==1.4.0
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps $(TRACKERS)
	touch $(STAMP)

demo: venv
	$(PY) projects/DeepMiner/train_net.py --config-file configs/demo/deepminer.yml

test: venv
	$(TESTS)

test-fast: venv
	$(TESTS) -m "not slow"

# Python x torch x FastReID, as many as can be installed here: hours, and 8 GB at a time. docs/install.md says what was run.
test-matrix:
	$(PYTHON) tools/version_matrix.py

lint: venv
	$(PY) -m ruff check .

# The site is in build/site: open index.html, no server is needed. A warning is an error.
docs: venv
	$(PY) -m sphinx -q -W --keep-going -c docs -b html . build/site

bench: venv
	$(PY) benchmarks/run_all.py

# make repro   motion -> Table 2 (the profile that params.yaml names)
# make test    ruff, mypy, import-linter, pytest
# make release the released models, from the profile `evening` (three hours; repeat to resume)
# All create .venv on first use. PYTHON=python3.12 selects an interpreter;
# TORCH_INDEX= (empty) installs torch from the default index, which on Linux is the CUDA build.
PYTHON ?= python3
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
BIN := $(CURDIR)/.venv/bin
# DVC runs stages with the first `python` on PATH; the user's PYTHONPATH must not shadow this checkout.
export PATH := $(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1

.PHONY: repro test release format
repro: .venv/.ready
	dvc repro
	@echo; cat reports/tables/table2.md
	@echo; echo "Tracked runs: .venv/bin/mlflow ui --backend-store-uri sqlite:///mlflow.db"
	@echo "Report (tables, figures, a clip in 3D): file://$(CURDIR)/reports/index.html"

test: .venv/.ready
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	@# One thread per process: thread pools on the same cores slow each other down.
	OMP_NUM_THREADS=1 pytest -n logical --dist loadfile

release: .venv/.ready
	dvc exp run -S profile=evening
	python tools/ship_models.py

format: .venv/.ready
	ruff check --fix .
	ruff format .

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "error: $(PYTHON) is not Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 2; }
	@$(PYTHON) -m venv .venv \
	    || { echo "error: $(PYTHON) cannot create a virtual environment: apt-get install python3-venv"; exit 2; }
	@if [ -n "$(TORCH_INDEX)" ] && $(BIN)/python -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=5)' \
	    "$(TORCH_INDEX)/torch/" 2>/dev/null; then index="--extra-index-url $(TORCH_INDEX)"; \
	    else index=; echo "torch: from pip's own index ($(TORCH_INDEX) is unreachable)"; fi; \
	    $(BIN)/pip install --quiet --disable-pip-version-check $$index -c constraints.txt -e '.[dev]'
	@touch $@

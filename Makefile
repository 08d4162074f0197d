# Everything runs in .venv, which the first target that needs it makes.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
export OMP_NUM_THREADS := 1

.PHONY: demo test check coverage docs dist clean

DEMO := runs/demo

demo: $(VENV)/installed
	rm -rf $(DEMO)
	$(BIN)/prunekit train --env CartPole-v1 --dense --quiet --out $(DEMO)/dense & dense=$$!; \
	trap 'kill $$dense 2>/dev/null' EXIT; \
	$(BIN)/prunekit train --env CartPole-v1 --sparsity 0.93 --out $(DEMO)/masked && wait $$dense
	$(BIN)/prunekit shrink $(DEMO)/masked/model.pt
	$(BIN)/prunekit export $(DEMO)/dense/model.pt --format onnx
	$(BIN)/prunekit bench $(DEMO)/dense/model.onnx $(DEMO)/masked/model.compact.onnx --device cpu --keep 0.95 --json $(DEMO)/bench.json \
		--report $(DEMO)/report.html

test: $(VENV)/installed
	$(BIN)/pytest -n 2 --dist loadgroup

coverage: $(VENV)/installed
	$(BIN)/pytest -n 2 --dist loadgroup --cov=prunekit --cov-report=term:skip-covered --cov-report=html:build/coverage

docs: $(VENV)/docs
	$(BIN)/mkdocs build --strict --site-dir build/site

dist: $(VENV)/installed
	rm -rf dist
	$(BIN)/python -m build --outdir dist

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/docs: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) runs build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

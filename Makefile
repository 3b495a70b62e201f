# mitoyolo: `make` lists what there is to do. Every target sets up .venv first where it needs it.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed
PAGE := mitoyolo/web/static/index.html
SOURCE := mitoyolo/web/page
DEMO := runs/demo
CASES := 10000
FIRST := 0

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo benchmark serve test test-trainings test-others test-long fuzz lint clean
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(READY) $(PAGE)  ## set up .venv with everything, tested versions (about 6 GB; nothing if done)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "mitoyolo needs Python 3.11 or newer, which $(PYTHON) is not; name yours: make install PYTHON=python3.11" >&2; \
		exit 1; }
	@echo "Setting up .venv: about 6 GB, most of it PyTorch with CUDA; takes some minutes."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[staintools,dev]' --constraint constraints.txt
	@touch $@
	@echo "Done. Try: make demo, or $(BIN)/mitoyolo --help"

$(PAGE): $(READY) $(wildcard $(SOURCE)/* $(SOURCE)/public/* $(SOURCE)/src/* $(SOURCE)/src/*/*)
	@cd $(SOURCE) && PATH="$(CURDIR)/$(BIN):$$PATH" && npm ci --silent --no-audit --no-fund && npm run --silent build

demo: $(READY)  ## the whole pipeline on the built-in example; ends with runs/demo/report.html
	$(BIN)/mitoyolo demo $(DEMO)/data --cases 12 --tiles 20 --overwrite
	$(BIN)/mitoyolo convert $(DEMO)/data/cadd4mbc $(DEMO)/dataset --from cadd4mbc --preset demo --images $(DEMO)/data/tiles --split 0.6,0.2,0.2 --overwrite
	$(BIN)/mitoyolo normalize $(DEMO)/dataset $(DEMO)/normalised --method reinhard --overwrite
	$(BIN)/mitoyolo train --data $(DEMO)/normalised/dataset.yaml --model yolov5n --weights none --epochs 30 --imgsz 256 --set nbs=16 --project $(DEMO) --name yolov5n --overwrite
	$(BIN)/mitoyolo val --data $(DEMO)/normalised/dataset.yaml --weights $(DEMO)/yolov5n/weights/best.pt --split test --overwrite
	$(BIN)/mitoyolo detect $(DEMO)/dataset/images/test --weights $(DEMO)/yolov5n/weights/best.pt --out $(DEMO)/detections --mpp 0.25 --overwrite
	$(BIN)/mitoyolo report $(DEMO)/yolov5n --out $(DEMO)/report.html
	@echo "Open $(DEMO)/report.html"

benchmark: $(READY)  ## every model trained and scored on rendered data; ends with runs/benchmark/report.html
	$(BIN)/mitoyolo benchmark --out runs/benchmark

serve: $(READY) $(PAGE)  ## the workbench in a browser, over runs/workbench
	$(BIN)/mitoyolo serve runs/workbench --example

# Two halves at a time, since many tests wait for processes of theirs. tests/detectors alone: with its
# runtimes of exported models and trainings loaded, torch has crashed in a large operation of tests/stain.
TRAININGS := $(wildcard tests/test_rcnn_*.py tests/test_train*.py tests/benchmark) tests/test_resume.py \
	tests/test_distributed.py tests/test_launch.py
test: $(READY) $(PAGE)  ## all tests
	@echo "Two halves at a time, each told when it is through; about a quarter of an hour on two cores."
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target test-trainings test-others

test-trainings: $(READY)
	$(BIN)/python -m pytest $(TRAININGS)

test-others: $(READY) $(PAGE)
	$(BIN)/python -m pytest tests/detectors
	$(BIN)/python -m pytest --ignore=tests/detectors $(addprefix --ignore=,$(TRAININGS))

test-long: $(READY)  ## the trainings that `make test` leaves out, some minutes each
	$(BIN)/python -m pytest -m long

fuzz: $(READY)  ## convert on CASES=10000 damaged inputs, from case FIRST=0 on
	MITOYOLO_FUZZ=$(CASES) MITOYOLO_FUZZ_FIRST=$(FIRST) $(BIN)/python -m pytest -rP tests/fuzz -k damaged

lint: $(READY)  ## ruff (rules, then formatting) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## remove .venv, builds and caches; runs/ stays
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis $(SOURCE)/node_modules $(dir $(PAGE))
	find . -path ./runs -prune -o -path ./.git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

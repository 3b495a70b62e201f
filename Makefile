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
.PHONY: help install demo benchmark serve test test-long fuzz lint clean
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

# Parts, two at a time and each on one core; the longest first. tests/detectors alone: with its runtimes of
# exported models and trainings loaded, torch has crashed in a large operation of tests/stain.
TRAININGS := $(wildcard tests/test_train*.py) tests/test_resume.py tests/test_distributed.py \
	tests/test_launch.py tests/test_sweep.py tests/benchmark
TWO_STAGE := $(wildcard tests/test_rcnn_*.py)
BROWSER := tests/web/test_browser.py
PARTS := test-trainings test-others test-two-stage test-detectors test-web test-browser
test: export OMP_NUM_THREADS := 1
test: $(READY) $(PAGE)  ## all tests
	@echo "Two parts at a time, each told when it is through; about a quarter of an hour on two cores."
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target $(PARTS)

.PHONY: $(PARTS)
$(PARTS): $(READY) $(PAGE)
test-trainings:
	$(BIN)/python -m pytest $(TRAININGS)
test-two-stage:
	$(BIN)/python -m pytest $(TWO_STAGE)
test-detectors:
	$(BIN)/python -m pytest tests/detectors
test-web:
	$(BIN)/python -m pytest tests/web --ignore=$(BROWSER)
test-browser:
	$(BIN)/python -m pytest $(BROWSER)
test-others:
	$(BIN)/python -m pytest $(addprefix --ignore=,$(TRAININGS) $(TWO_STAGE) tests/detectors tests/web)

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

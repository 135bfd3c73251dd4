# make            set up .venv, the environment in which everything works, Neural Compressor included
# make demo       the whole flow on data that comes with the package
# make docs       the pages of docs/, in build/docs
# make test       lint, types, import layers, the suite in both environments, a part of it in another Python, and the wheel
# make package    build the wheel and the sdist, and use them in empty environments
# make campaigns  kills, fuzzed inputs, faults, twins and load for BUDGET_S seconds, counted in a ledger outside of the repository
# make validate   export, quantize and validate a real network on DATA (default coco/val2017)

PYTHON  ?= python3
DATA    ?= coco/val2017
ARCH    ?= resnet50
OPSET   ?= 12
WEIGHTS ?= DEFAULT
BUDGET_S ?= 1200
FP32     = fcn-$(ARCH)-$(OPSET).onnx
INT8     = fcn-$(ARCH)-$(OPSET)-int8.onnx
BIN      = .venv/bin
PYTEST   = -m pytest -n 2

# Another Python than PYTHON, in which everything but torch is tried: the newest that is here.
OTHER_PYTHON ?= $(shell for p in python3.13 $(HOME)/.pyenv/versions/3.13.*/bin/python python3.12 \
	$(HOME)/.pyenv/versions/3.12.*/bin/python $(PYTHON); do $$p -c '' 2>/dev/null && echo $$p && break; done)
# what needs no command and no torch
ROOMS    = tests/model tests/data tests/calibration tests/evaluation tests/runtime

.PHONY: all demo docs test check suite suite-newest suite-other package campaigns validate tiny-weights clean
all: .venv/ready

# pip's resolver is given the constraints, so a bare machine gets the versions that are known to work together.
.venv/ready: pyproject.toml constraints/everything.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints/everything.txt -e '.[all]'
	touch $@

.venv-newest/ready: pyproject.toml constraints/newest.txt
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/pip install --quiet --disable-pip-version-check -c constraints/newest.txt -e '.[export,ray,dev]'
	touch $@

.venv-other/ready: pyproject.toml constraints/newest.txt
	$(OTHER_PYTHON) -m venv .venv-other
	.venv-other/bin/pip install --quiet --disable-pip-version-check -c constraints/newest.txt -e '.[dev]'
	touch $@

demo: .venv/ready
	$(BIN)/fcn-onnx demo demo

test: check suite suite-newest suite-other package

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mkdocs --quiet build --strict

docs: .venv/ready
	$(BIN)/mkdocs build --strict

suite: .venv/ready
	$(BIN)/python $(PYTEST)

suite-newest: .venv-newest/ready
	.venv-newest/bin/python $(PYTEST)

suite-other: .venv-other/ready
	.venv-other/bin/python --version
	.venv-other/bin/python $(PYTEST) $(ROOMS)

# the wheel, in environments that hold nothing else
package: .venv/ready
	$(BIN)/python tools/try_package.py --constraints constraints/newest.txt --without-torch $(OTHER_PYTHON)

campaigns: .venv/ready
	cd tests && ../$(BIN)/python -m campaigns --budget $(BUDGET_S)

validate: $(DATA) $(INT8)
	$(BIN)/fcn-onnx validate --fp32 $(FP32) --int8 $(INT8) --data $(DATA)

$(FP32): | .venv/ready
	$(BIN)/fcn-onnx export --arch $(ARCH) --opset $(OPSET) --weights $(WEIGHTS)

$(INT8): $(FP32) | $(DATA) .venv/ready
	$(BIN)/fcn-onnx quantize --model $(FP32) --data $(DATA)

$(DATA):
	@echo "$(DATA) is not here. Get COCO val2017 from https://cocodataset.org/#download:" >&2
	@echo "  val2017.zip into coco/val2017, annotations_trainval2017.zip into coco/annotations" >&2
	@echo "or name your copy: make validate DATA=/data/coco/val2017" >&2
	@echo "Without data, 'make demo' runs the same on synthetic scenes." >&2
	@exit 2

tiny-weights: .venv/ready
	$(BIN)/python tools/train_tiny.py

clean:
	rm -rf .venv .venv-newest .venv-other build demo report

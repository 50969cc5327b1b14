# make figure            fig 2, regime at, on the embedded digits (under 5 minutes on 2 cores, after set-up)
# make figure FIG=fig4 ARGS='-p norm l2'
# make figures           all of them; ARGS='figures=fig2,fig5' for some
# make publish claims    what they show, into figures/ and README.md; ARGS='scale=pilot dataset=folder:... seeds=1,2' for other than quick
# make bench             how fast
# make test              everything CI runs
PYTHON ?= python3
VENV   ?= .venv
FIG    ?= fig2
GIVEN  := $(if $(ARGS),$(ARGS),$(if $(filter fig2,$(FIG)),-p regime at))
OUT    := $(or $(NC_ROBUST_OUT),out)
BIN    := $(VENV)/bin
EMPTY  :=
unexport PYTHONPATH PYTHONHOME
export PIP_USER := 0
NAME   := $(FIG)$(if $(strip $(GIVEN)),_$(subst /,-,$(subst $(EMPTY) ,_,$(strip $(filter-out -p,$(GIVEN))))))

help:        # a bare `make` lists what there is
	@sed -n 's/^# //p' Makefile

.PHONY: help $(VENV)/.ready env figure figures publish claims bench test drift browser lab
env:         # nbdev_export writes pyproject.toml anew each time: what is in it decides, not its date
	@cmp -s pyproject.toml $(VENV)/.ready && $(BIN)/python -c 'import pip' || $(MAKE) --no-print-directory $(VENV)/.ready
$(VENV)/.ready:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { echo "nc_robust needs Python 3.11 to 3.13, $(PYTHON) is $$($(PYTHON) -V 2>&1); use make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $$(test -f $(VENV)/pyvenv.cfg && ! $(BIN)/python -c 'import pip' 2> /dev/null && echo --clear) $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]' || { echo "no environment yet (pip says why above); it takes about 6 GB in $(VENV), and 3 in $${TMPDIR:-/tmp} while it is made; there is:"; df -h $(VENV) $${TMPDIR:-/tmp}; exit 1; }
	cp pyproject.toml $@

figure: env
	@test -f nbs/$(FIG).ipynb || { $(BIN)/python -c 'from nc_robust.figures import FIGURES; print("no figure $(FIG); there are:", *FIGURES)'; exit 1; }
	@mkdir -p '$(OUT)'
	$(BIN)/papermill nbs/$(FIG).ipynb '$(OUT)/$(NAME).ipynb' -k python3 --no-progress-bar --stdout-file - -p scale quick $(GIVEN)
	@echo "$(OUT)/$(NAME).ipynb"

drift: env
	$(BIN)/python tests/drift.py

test: env drift
	d=$$(mktemp -d) && trap 'rm -rf "$$d"' EXIT && NC_ROBUST_RUNS=$$d/runs NC_ROBUST_OUT=$$d/out NC_ROBUST_CACHE=$$d/cache NC_ROBUST_SCALE=smoke $(BIN)/nbdev_test --n_workers 2
	$(BIN)/pytest -q -n 2 --dist worksteal

browser: env
	$(BIN)/pip install --quiet playwright
	$(BIN)/python tests/browser.py

lab: env
	$(BIN)/jupyter lab nbs

figures: env
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/snakemake --cores all --nolock --keep-going --show-failed-logs --rerun-triggers mtime params --rerun-incomplete --config scale=quick $(ARGS)

publish: env
	$(BIN)/python -c 'import sys; from nc_robust.figures import planned, publish; [publish(f) for f in planned(**dict(scale="quick") | dict(a.split("=", 1) for a in sys.argv[1:])).values()]' $(ARGS)

claims: env
	$(BIN)/python -c 'from pathlib import Path; from nc_robust.verdicts import write_readme; write_readme(Path("figures"), Path("README.md"))'

bench: env
	@mkdir -p '$(OUT)'
	$(BIN)/papermill nbs/19_bench.ipynb '$(OUT)/bench.ipynb' -k python3 --no-progress-bar $(ARGS)

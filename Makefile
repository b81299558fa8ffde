# `make run` and `make test` do everything on a fresh Debian machine with rustup, set-up included.

# What is built outlives the clone and is shared with .ci/run where CARGO_TARGET_DIR says so.
CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR
# The test clients' virtual environment and Node packages.
TOOLS ?= $(if $(HOME),$(HOME)/.cache/refrain,$(CURDIR)/target)/test-tools
# For how long each fuzz target runs.
FUZZ_SECONDS ?= 60
BINARY = $(CARGO_TARGET_DIR)/release/refrain
MODEL = models/all-MiniLM-L6-v2

.PHONY: run build model test test-rust test-clients test-llm test-gpu fuzz check bench bench-gpu deny packages

run: build model
	$(BINARY) serve

build: packages
	cargo build --release --locked

# Does nothing where the files are there and have the right hashes.
model: build
	$(BINARY) model fetch --models-dir models all-MiniLM-L6-v2

# Installs what is missing of the system packages, and asks for root's rights only then.
packages:
	@tools/packages.sh build

test: build model test-rust test-clients

test-rust: model
	cargo test --release --locked

test-clients: build model
	@tools/packages.sh test
	tools/test-tools.sh "$(TOOLS)"
	cd tests/clients && env $$(cat "$(TOOLS)/environment") REFRAIN_BINARY="$(BINARY)" \
	    "$(TOOLS)/venv/bin/python" -m pytest -q --ignore=test_real_model.py

# Against a real model on the CPU, served by llama.cpp; downloads some hundred megabytes.
test-llm: build model
	@tools/packages.sh test
	tools/test-tools.sh "$(TOOLS)" llm
	cd tests/clients && env $$(cat "$(TOOLS)/environment") REFRAIN_BINARY="$(BINARY)" \
	    "$(TOOLS)/venv/bin/python" -m pytest -q test_real_model.py

# Every fuzz target for a minute: `make fuzz FUZZ_SECONDS=600`. One of them: `make fuzz TARGET=requests-gemini`, and with
# `INPUT=FILE` that input only.
fuzz: packages
	FUZZ_SECONDS="$(FUZZ_SECONDS)" tests/fuzz/run.sh $(or $(TARGET),all) $(if $(INPUT),"$(abspath $(INPUT))")

# What .ci/run asks on top of the tests.
check: packages
	cargo fmt --check
	cargo fmt --check --manifest-path tests/fuzz/Cargo.toml
	cargo clippy --release --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --no-deps --document-private-items

# Licences, banned crates, sources, and known vulnerabilities where their database can be reached. Installs cargo-deny
# where it is missing.
deny:
	command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check licenses bans sources
	cargo deny --manifest-path tests/fuzz/Cargo.toml check licenses bans sources
	if cargo deny fetch db 2>/dev/null; then cargo deny check advisories; else echo "advisories: not reachable, not checked"; fi

bench: build model
	cargo bench --locked --bench proxy

# On a machine with an NVIDIA GPU and the CUDA toolkit.
test-gpu: model
	cargo test --release --locked --features cuda --test gpu -- --ignored

# How fast that is, and how fast PyTorch on the same card: PYTHON must have `torch` and `transformers`.
bench-gpu: model
	REFRAIN_EMBEDDING__DEVICE=cuda cargo run --release --locked --features cuda -- bench embed --engine candle --tokens 16,128 --batches 1,4,16,64,256,1024
	$(or $(PYTHON),python3) benches/torch_embed.py --device cuda

# Every target works on a fresh clone, as root or not; `make help` lists them.
# Caches outside the checkout: DBOPS_PG_CACHE and DBOPS_PEERS_CACHE (scripts/postgres.sh, scripts/peers.sh) and Go's own.
SHELL := bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Without the race detector in SQLite, which is C compiled to Go and not ours, and in the compiler that makes the SQL parser: with it the tests take
# three times as long. Not so in other libraries: the linker keeps one copy of each instance of a generic type, and one of sync's without the detector gives false alarms.
# Without vet, which make lint runs, with all that it knows.
# A process with the detector sleeps for a second at its end unless told otherwise, and the tests start a thousand of them.
export GORACE ?= atexit_sleep_ms=0
WAZEVO := github.com/tetratelabs/wazero/internal/engine/wazevo
RACE := -race $(foreach p,modernc.org $(WAZEVO)/ssa $(WAZEVO)/backend $(WAZEVO)/frontend,'-gcflags=$(p)/...=-race=false') -vet=off
TOOL := go tool -modfile=tools/go.mod
# The longest first, so that none of them is left alone at the end.
PKG ?= ./cmd/dbops ./internal/upgrade ./internal/op ./internal/creds ./...
BENCHTIME ?= 2s
ROUNDS ?= 3
KEYS ?= 3000
FUZZTIME ?= 60s
SOAK ?= 10m

# The tests with foreign clients are behind the build tag "peers", so that go test ./... does without them.
PEER_FILES = $(shell grep -rlE '^//go:build peers$$' --include='*_test.go' internal cmd)
PEER_PKGS = $(addprefix ./,$(sort $(dir $(PEER_FILES))))
PEER_TESTS = $(shell grep -hE '^func Test' $(PEER_FILES) /dev/null | grep -oE 'Test[A-Za-z0-9_]+' | sort -u | paste -sd'|' -)

SETUP_TESTS = scripts/postgres_test.sh && scripts/peers_test.sh && scripts/arrows_test.sh && scripts/in-memory_test.sh

# Go stamps the revision into what it builds, and fails where git cannot say which it is (no git, somebody else's checkout).
ifeq ($(shell git rev-parse --verify --quiet HEAD 2>/dev/null),)
export GOFLAGS += -buildvcs=false
endif

.PHONY: help demo build test test-peers test-drivers test-setup fuzz faults soak check lint fmt vuln schema bench bench-proxy bench-docs bench-tui pictures release-dry-run image postgres clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the whole of dbops against the embedded cloud, on this machine alone
	@scripts/require.sh go postgres
	@scripts/postgres.sh
	@$(MAKE) build
	@scripts/demo.sh

build: ## ./dbops, one static binary
	CGO_ENABLED=0 go build -trimpath -o dbops ./cmd/dbops

test: ## everything that can fail: race detector, real servers, foreign clients, the set-up itself
	@scripts/require.sh go cc postgres peers pages
	@scripts/postgres.sh
	@scripts/peers.sh
	@said=$$(mktemp); { $(SETUP_TESTS); } >"$$said" 2>&1 & setup=$$!; trap 'kill $$setup 2>/dev/null; rm -f "$$said"' EXIT; \
	eval "$$(scripts/peers.sh --env)"; failed=0; export PATH="$$PATH:$$(scripts/postgres.sh --where)/client/15/bin"; \
	scripts/in-memory.sh $(TOOL) gotestsum --format pkgname-and-test-fails --format-hide-empty-pkg -- -p 3 \
		$(RACE) -tags peers -shuffle=on -timeout 40m $(PKG) || failed=1; \
	wait $$setup || failed=1; cat "$$said"; exit $$failed

test-peers: ## the sandbox, the proxy and migrations judged by programs that are not ours, and by the tests of drivers
	@scripts/require.sh go cc postgres peers
	@scripts/postgres.sh
	@scripts/peers.sh
	eval "$$(scripts/peers.sh --env)" && export PATH="$$PATH:$$(scripts/postgres.sh --where)/client/15/bin" && scripts/in-memory.sh go test $(RACE) -tags peers -count=1 -timeout 9m -run '^($(PEER_TESTS))$$' $(PEER_PKGS)
	@$(MAKE) test-drivers

test-drivers: ## the own tests of two PostgreSQL drivers, directly and through the proxy
	@scripts/require.sh go postgres
	@scripts/postgres.sh
	go test -tags drivers -vet=off -count=1 -v -timeout 15m -run '^TestDrivers' ./internal/proxy

fuzz: ## every fuzz target, each for FUZZTIME: make fuzz FUZZTIME=60s
	@scripts/require.sh go postgres
	@scripts/fuzz.sh $(FUZZTIME) $(sort $(dir $(shell grep -rlE '^func Fuzz' --include='*_test.go' internal cmd | sed 's,^,./,')))

faults: ## faults of networks, servers, clouds and machines in full size; what was measured goes into docs/proxy-faults.md
	@scripts/require.sh go postgres
	@scripts/postgres.sh
	@scripts/faults.sh docs/proxy-faults.md

soak: ## the proxy under churn and faults for long, its memory printed by the minute: make soak SOAK=10m
	@scripts/require.sh go postgres
	@scripts/postgres.sh
	DBOPS_SOAK=$(SOAK) go test -count=1 -v -timeout 24h -run '^TestSoak$$' ./internal/proxy

test-setup: ## the set-up scripts and the lint rules, proved
	$(SETUP_TESTS)

check: lint ## lint, a tidy go.mod, and generated files as they would be generated
	go mod tidy -diff
	go run ./cmd/dbops config schema | diff -u docs/dbops.schema.json - || { echo 'docs/dbops.schema.json is not what the code says: run make schema' >&2; exit 1; }

lint: ## formatting, the linters of .golangci.yml, and the arrows of the design
	@scripts/require.sh go
	$(TOOL) golangci-lint fmt --diff || { echo 'not formatted: run make fmt' >&2; exit 1; }
	$(TOOL) golangci-lint run --allow-parallel-runners $(PKG)

fmt: ## format the code
	$(TOOL) golangci-lint fmt

vuln: ## known vulnerabilities in what dbops calls (needs the Go vulnerability database)
	@scripts/vuln.sh

schema: ## regenerate docs/dbops.schema.json from the configuration's types
	@mkdir -p docs
	go run ./cmd/dbops config schema >docs/dbops.schema.json.new && mv docs/dbops.schema.json.new docs/dbops.schema.json

bench: bench-proxy ## the proxy, the engine, migrate, and an upgrade's copy against other tools: make bench BENCHTIME=5s DBOPS_BENCH_MB=2048
	go test -run '^$$' -bench . -benchtime $(BENCHTIME) -timeout 30m ./internal/op ./internal/migrate/...
	DBOPS_PGCOPYDB="$$(scripts/pgcopydb.sh || true)" go test -run '^$$' -bench . -benchtime $(ROUNDS)x -v -timeout 3h ./internal/upgrade/stream

bench-proxy: ## the proxy beside direct connections and Google's cloud-sql-proxy, as ratios: make bench-proxy ROUNDS=5
	@scripts/require.sh go postgres
	@scripts/postgres.sh
	@scripts/peers.sh --only cloud-sql-proxy
	eval "$$(scripts/peers.sh --env)" && BENCHTIME=$(BENCHTIME) ROUNDS=$(ROUNDS) go test -run '^$$' -bench . -benchtime 1x -v -timeout 40m ./internal/proxy/bench

bench-docs: ## the same, and its tables into docs/benchmarks.md
	DBOPS_BENCH_DOCS=$(CURDIR)/docs/benchmarks.md $(MAKE) bench-proxy

bench-tui: ## from a key to its painted frame with 500 instances, and from the start to the first frame: make bench-tui KEYS=5000
	go test -run '^$$' -bench '^BenchmarkKeys$$' -benchtime $(KEYS)x ./internal/tui
	go test -run '^$$' -bench '^BenchmarkFirstPaint$$' -benchtime 50x ./internal/tui

pictures: build ## the pictures of README and docs: the real program in a terminal, on a sandbox of its own
	@scripts/require.sh go postgres
	@scripts/postgres.sh
	scripts/pictures.sh ./dbops

release-dry-run: ## a release into dist, made twice and compared, verified, installed in a folder; nothing is published
	@scripts/require.sh go release
	@scripts/release_test.sh

image: ## a container image of what is in dist, with PostgreSQL's client programs (needs docker, podman or buildah)
	@ls dist/dbops_*.deb >/dev/null 2>&1 || $(MAKE) release-dry-run
	@scripts/image.sh

postgres: ## PostgreSQL 14 to 18 and client tools, cached beside the system
	@scripts/postgres.sh

clean: ## remove what was built in the checkout (the caches stay)
	rm -rf dbops dist .cache docs/dbops.schema.json.new
	find . -name '*.test' -type f -not -path './.git/*' -delete

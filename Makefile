# Every target works on a fresh clone, as root or not; `make help` lists them.
# Caches outside the checkout: DBOPS_PG_CACHE and DBOPS_PEERS_CACHE (scripts/postgres.sh, scripts/peers.sh) and Go's own.
SHELL := bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Without the race detector in SQLite, which is C compiled to Go and not ours: with it the tests take three times as long. Not so in other
# libraries: the linker keeps one copy of each instance of a generic type, and one of sync's without the detector gives false alarms.
# Without vet, which make lint runs, with all that it knows.
RACE := -race '-gcflags=modernc.org/...=-race=false' -vet=off
TOOL := go tool -modfile=tools/go.mod
PKG ?= ./...
BENCHTIME ?= 2s
ROUNDS ?= 3

# The tests with foreign clients are behind the build tag "peers", so that go test ./... does without them.
PEER_FILES = $(shell grep -rlE '^//go:build peers$$' --include='*_test.go' internal cmd)
PEER_PKGS = $(addprefix ./,$(sort $(dir $(PEER_FILES))))
PEER_TESTS = $(shell grep -hE '^func Test' $(PEER_FILES) /dev/null | grep -oE 'Test[A-Za-z0-9_]+' | sort -u | paste -sd'|' -)

SETUP_TESTS = scripts/postgres_test.sh && scripts/peers_test.sh && scripts/arrows_test.sh && scripts/in-memory_test.sh

# Go stamps the revision into what it builds, and fails where git cannot say which it is (no git, somebody else's checkout).
ifeq ($(shell git rev-parse --verify --quiet HEAD 2>/dev/null),)
export GOFLAGS += -buildvcs=false
endif

.PHONY: help demo build test test-peers test-setup check lint fmt vuln schema bench postgres clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the whole of dbops against the embedded cloud, on this machine alone
	@scripts/require.sh go postgres
	@scripts/postgres.sh
	@$(MAKE) build
	@scripts/demo.sh

build: ## ./dbops, one static binary
	CGO_ENABLED=0 go build -trimpath -o dbops ./cmd/dbops

test: ## everything that can fail: race detector, real servers, foreign clients, the set-up itself
	@scripts/require.sh go cc postgres peers
	@scripts/postgres.sh
	@scripts/peers.sh
	@said=$$(mktemp); { $(SETUP_TESTS); } >"$$said" 2>&1 & setup=$$!; trap 'kill $$setup 2>/dev/null; rm -f "$$said"' EXIT; \
	eval "$$(scripts/peers.sh --env)"; failed=0; \
	scripts/in-memory.sh $(TOOL) gotestsum --format pkgname-and-test-fails --format-hide-empty-pkg -- -p 3 \
		$(RACE) -tags peers -shuffle=on -timeout 40m $(PKG) || failed=1; \
	wait $$setup || failed=1; cat "$$said"; exit $$failed

test-peers: ## the sandbox, the proxy and migrations judged by programs that are not ours
	@scripts/require.sh go cc postgres peers
	@scripts/postgres.sh
	@scripts/peers.sh
	eval "$$(scripts/peers.sh --env)" && scripts/in-memory.sh go test $(RACE) -tags peers -count=1 -timeout 9m -run '^($(PEER_TESTS))$$' $(PEER_PKGS)

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

bench: ## the proxy against direct connections, the engine, migrate, and an upgrade's copy against other tools: make bench BENCHTIME=5s DBOPS_BENCH_MB=2048
	@scripts/require.sh go postgres
	@scripts/postgres.sh
	go test -run '^$$' -bench . -benchtime $(BENCHTIME) -timeout 30m ./internal/proxy/... ./internal/op ./internal/migrate/...
	DBOPS_PGCOPYDB="$$(scripts/pgcopydb.sh || true)" go test -run '^$$' -bench . -benchtime $(ROUNDS)x -v -timeout 3h ./internal/upgrade/stream

postgres: ## PostgreSQL 14 to 18 and client tools, cached beside the system
	@scripts/postgres.sh

clean: ## remove what was built in the checkout (the caches stay)
	rm -rf dbops dist .cache docs/dbops.schema.json.new
	find . -name '*.test' -type f -not -path './.git/*' -delete

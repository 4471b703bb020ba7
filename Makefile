# Tandem: two commands matter. `make run` starts the server; `make test` is what CI runs.

GO      ?= go
BIN     := bin/tandem
DATA    ?= data
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X main.version=$(VERSION)
# The whole suite under the race detector; peers: also the tests that talk to real programs. Not
# from the cache: spec and docs drive a program that they build, whose changes go unnoticed there.
TESTFLAGS ?= -race -tags peers -count=1 -timeout 25m

.PHONY: run cluster build pages test test-cluster chaos soak chaos-cluster upgrade check peers unit timing fuzz web bench vulncheck generate clean help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: build ## start the server on the embedded engine, data in ./data
	$(BIN) serve --data $(DATA)

cluster: build ## three NATS servers and three nodes on this machine, for trying out; Ctrl-C stops them
	@scripts/cluster

build: pages ## build bin/tandem, with the web pages in it
	@$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/tandem

pages: ## build the web pages (needs Node 20.19 or later with npm; installs packages by the lock file)
	@scripts/web-build

test: check unit timing web ## everything that CI runs; installs the peers it lacks

check: ## formatting, vet, lint
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'not formatted (gofmt -w):'; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet -tags peers ./...
	cd bench && $(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod staticcheck -tags peers ./...

peers: # the programs that the tests talk to
	scripts/test-deps

unit: peers ## race, property, conformance and requirement tests, fuzz seeds, with the real peers
	$(GO) test $(TESTFLAGS) ./internal/server ./spec ./... # the longest first: the others run beside them

timing: ## what times tell to strangers, and the benchmarks in miniature; times of a race build would say nothing
	$(GO) test -timeout 5m -run TestTiming ./internal/server
	cd bench && $(GO) test -timeout 5m ./...

test-cluster: ## storage suite, requirement scripts and faults on three NATS servers and several nodes (make test: a part)
	$(GO) test -count=1 -timeout 15m ./internal/edge/store/natsstore
	SPEC_CLUSTER=all $(GO) test -count=1 -timeout 30m -run OnCluster ./spec
	$(GO) test -count=1 -timeout 15m -run 'TestCluster' ./internal/server

chaos: ## kill -9, power cuts, damage, full disks, slow members, simulation: often; prints what was lost (superuser)
	scripts/chaos

soak: ## a day of calls in 20 minutes (MINUTES=20): heap, goroutines and descriptors stay as they are
	TANDEM_CHAOS=full SOAK_MINUTES=$(MINUTES) $(GO) test -count=1 -v -timeout 2h -run TestSoak ./internal/server

chaos-cluster: ## faults of network, nodes and NATS servers under load: ROUNDS=10, DEVICES=100, PAUSE=100 ms between messages, HISTORIES=2 a fault, FAULTS='drained|cut'
	TANDEM_CHAOS_FAULTS='$(FAULTS)' TANDEM_CHAOS_ROUNDS=$(or $(ROUNDS),10) TANDEM_CHAOS_DEVICES=$(or $(DEVICES),100) TANDEM_CHAOS_PAUSE=$(or $(PAUSE),100) TANDEM_CHAOS_HISTORIES=$(or $(HISTORIES),2) \
	$(GO) test -count=1 -v -timeout 90m -run TestClusterFaults ./internal/server

upgrade: ## from an earlier version (PREVIOUS=commit; the newest tag, or 20 commits ago) to this one and back, x 20, under load
	scripts/upgrade $(PREVIOUS)

web: peers build ## types, lint and tests of the web side, against the real server, in a real browser
	TANDEM_BIN=$(CURDIR)/$(BIN) scripts/web-test

fuzz: ## each fuzz target for a moment (FUZZTIME=1m for longer)
	scripts/fuzz $(FUZZTIME)

bench: ## relay, matching, memory, growth beside peers in the same run; plots in docs/pictures
	cd bench && $(GO) run . -plots ../docs/pictures

vulncheck: ## known vulnerabilities of dependencies; exit status 3: the databases cannot be reached
	scripts/vulncheck

generate: ## schemas and reference pages from the Go types
	$(GO) generate ./...

clean: ## remove what was built (not ./data)
	rm -rf bin internal/edge/transport/webpages/built/callpage internal/edge/transport/webpages/built/agent

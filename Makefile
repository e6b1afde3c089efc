# procops: build, run, test, lint, bench, install. `make help` lists the targets.

.DEFAULT_GOAL := build
.DELETE_ON_ERROR:

GO      ?= go
PREFIX  ?= /usr/local
DESTDIR ?=

# Where build puts the binary.
BINARY  ?= bin/procops

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

# The tags drop what a static binary cannot have (loadable SQLite extensions,
# the C library's name look-ups) and what would only cost start-up time (the
# flag library's documentation generator). Plain `go build` works as well.
TAGS := sqlite_omit_load_extension,urfave_cli_no_docs,netgo,osusergo

LDFLAGS := -s -w -linkmode external -extldflags -static \
	-X procops/internal/cli.version=$(VERSION) \
	-X procops/internal/cli.commit=$(COMMIT)

# The commit comes from COMMIT; the go command's own stamp would fail in a
# checkout that belongs to somebody else, such as in a container.
GOFLAGS_COMMON := -buildvcs=false -tags $(TAGS)

GOLANGCI_LINT_VERSION := v2.15.0
GOLANGCI_LINT := bin/tools/golangci-lint-$(GOLANGCI_LINT_VERSION)

# make run keeps its state here.
RUN_STATE ?= $(CURDIR)/bin/state

.PHONY: build
build: ## build the static binary BINARY (default bin/procops)
	CGO_ENABLED=1 $(GO) build $(GOFLAGS_COMMON) -ldflags '$(LDFLAGS)' -o '$(BINARY)' .

# The two variables reach the supervised processes and with them the procops
# commands that those run.
.PHONY: run
run: build ## bring up examples/quickstart in the foreground; Ctrl-C ends it
	PROCOPS_CONFIG='$(CURDIR)/examples/quickstart/procops.toml' PROCOPS_STATE_DIR='$(RUN_STATE)' \
		'$(BINARY)' supervise run

.PHONY: test
test: test-needs ## vet, then all tests with the race detector
	$(GO) vet $(GOFLAGS_COMMON) ./...
	$(GO) test $(GOFLAGS_COMMON) -race -shuffle=on -timeout 14m ./...

.PHONY: test-needs
test-needs: ## check (as root: install) the real servers that the tests run
	.ci/needs test

.PHONY: lint
lint: $(GOLANGCI_LINT) ## all linters and the formatter; fails on findings
	$(GOLANGCI_LINT) run --build-tags '$(TAGS),bench' ./...

$(GOLANGCI_LINT):
	GOBIN='$(CURDIR)/bin/tools' $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv bin/tools/golangci-lint $@

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## format all Go files
	$(GOLANGCI_LINT) fmt ./...

.PHONY: bench
bench: build ## measure procops beside runit, s6, supervisord and the sqlite3 shell; fails when a target is missed
	.ci/needs bench
	$(GO) test $(GOFLAGS_COMMON) -run '^$$' -bench . -benchmem ./internal/...
	$(GO) test $(GOFLAGS_COMMON),bench -count=1 -timeout 30m -v ./integration/bench

.PHONY: install
install: build ## install the binary to DESTDIR/PREFIX/bin (default /usr/local/bin)
	install -D -m 0755 '$(BINARY)' '$(DESTDIR)$(PREFIX)/bin/procops'

.PHONY: clean
clean: ## remove what the targets above have made
	rm -rf bin

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

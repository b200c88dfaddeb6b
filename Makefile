# Only the lines of the matrix; the rest of the Makefile is kept elsewhere.
.PHONY: matrix matrix-here fuzz
matrix: ## the whole suite on OpenSSL 1.1.1, 3.0, 3.5, 3.6 and 4.0, in Debian roots
	sh internal/matrix/matrix.sh $(OPENSSL)
matrix-here: ## one line of it on this machine, a container: OPENSSL=3.0
	sh internal/matrix/matrix.sh here $(OPENSSL)
fuzz: ## FUZZTIME for each fuzzer
	@for f in $$(grep -rhoE '^func Fuzz[A-Za-z0-9]+' --include='*_test.go' . | cut -c6-); do go test -tags queuecheck -run '^$$' -fuzz "^$$f\$$" -fuzztime $(or $(FUZZTIME),60s) . || exit 1; done

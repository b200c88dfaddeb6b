module github.com/sidctx/openssl

go 1.26.0

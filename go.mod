module github.com/sidctx/openssl

go 1.25.0

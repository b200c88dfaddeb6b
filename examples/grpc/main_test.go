package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const patience = 20 * time.Second

// lockedBuffer is written to by the server's goroutines and the client's.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out lockedBuffer
	if err := run(ctx, &out); err != nil {
		t.Fatalf("run: %v", err)
	}
	want := []string{
		`server: called by client.example, resumed: false, session id context: "grpc-example"`,
		`client: answered by server.example, resumed: false, session id context: ""`,
		`server: called by client.example, resumed: true, session id context: "grpc-example"`,
		`client: answered by server.example, resumed: true, session id context: ""`,
	}
	if got := strings.Split(strings.TrimSpace(out.b.String()), "\n"); !slices.Equal(got, want) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
}

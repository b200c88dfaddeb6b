package httpx

import (
	"context"
	"strconv"
)

// Remember has t meet n hosts, and returns how many of them it remembers.
func (t *Transport) Remember(n int) int {
	for i := range n {
		t.host(strconv.Itoa(i), &host{asking: context.Background()})
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.hosts)
}

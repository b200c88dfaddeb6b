//go:build cgo

package openssl

import "sync"

// buffer is ciphertext between the wire and libssl: b[r:w].
type buffer struct {
	b    []byte
	r, w int
}

const (
	maxPlaintext = 64 << 10            // sealed in one act: longer calls into C make the scheduler take the processor away
	largeBuffer  = maxPlaintext + 4096 // sealed, with what every record adds
	smallBuffer  = 4 << 10             // what a reader holds while it waits
)

var (
	largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
	smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
)

func newBuffer(large bool) buffer {
	if large {
		return buffer{b: largeBuffers.Get().(*[largeBuffer]byte)[:]}
	}
	return buffer{b: smallBuffers.Get().(*[smallBuffer]byte)[:]}
}

// release gives the memory back.
func (b *buffer) release() {
	switch len(b.b) {
	case largeBuffer:
		largeBuffers.Put((*[largeBuffer]byte)(b.b))
	case smallBuffer:
		smallBuffers.Put((*[smallBuffer]byte)(b.b))
	}
	*b = buffer{}
}

func (b *buffer) empty() bool   { return b.r == b.w }
func (b *buffer) bytes() []byte { return b.b[b.r:b.w] }

// take moves past what was used; an empty buffer holds no memory.
func (b *buffer) take(n int) {
	if b.r += n; b.r == b.w && b.b != nil {
		b.release()
	}
}

// room is space behind what is there, at least something if n is not 0.
func (b *buffer) room(n int) []byte {
	if b.b == nil {
		*b = newBuffer(n > smallBuffer)
	}
	return b.b[b.w:]
}

// append adds a copy, in more memory if need be.
func (b *buffer) append(p []byte) {
	if len(b.room(len(p))) < len(p) {
		grown := buffer{b: make([]byte, 2*(b.w-b.r+len(p)))}
		grown.w = copy(grown.b, b.bytes())
		b.release()
		*b = grown
	}
	b.w += copy(b.b[b.w:], p)
}

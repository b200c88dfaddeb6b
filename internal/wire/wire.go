// Package wire reads and writes bytes behind their lengths.
package wire

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Reader reads big-endian numbers, and bytes behind a length in such a number.
type Reader struct {
	B   []byte // what is left
	Bad bool   // something was missing; it stays true
}

// Uint reads a number of size bytes, 0 if they are not there.
func (r *Reader) Uint(size int) (v int) {
	if len(r.B) < size {
		r.Bad = true
		return 0
	}
	for _, b := range r.B[:size] {
		v = v<<8 | int(b)
	}
	r.B = r.B[size:]
	return v
}

// Bytes reads a length of size bytes and what it counts, nil if that is not there.
// It is a part of what is read, no copy.
func (r *Reader) Bytes(size int) []byte {
	n := r.Uint(size)
	if r.Bad || n < 0 || len(r.B) < n {
		r.Bad = true
		return nil
	}
	p := r.B[:n]
	r.B = r.B[n:]
	return p
}

// Done reports whether all was read and nothing was missing.
func (r *Reader) Done() bool { return !r.Bad && len(r.B) == 0 }

// Writer collects values to be hashed so that no two collections look alike: each
// behind its length, each list behind its count, all in 64 bits.
type Writer struct{ B []byte }

// Uint writes a number.
func (w *Writer) Uint(n uint64) { w.B = binary.BigEndian.AppendUint64(w.B, n) }

// Bytes writes p behind its length.
func (w *Writer) Bytes(p []byte) {
	w.Uint(uint64(len(p)))
	w.B = append(w.B, p...)
}

// List writes a list in its order.
func (w *Writer) List(list [][]byte) {
	w.Uint(uint64(len(list)))
	for _, p := range list {
		w.Bytes(p)
	}
}

// Set writes a list whose order means nothing.
func (w *Writer) Set(list [][]byte) {
	list = slices.Clone(list)
	slices.SortFunc(list, bytes.Compare)
	w.List(list)
}

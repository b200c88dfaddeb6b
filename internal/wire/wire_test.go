package wire

import (
	"bytes"
	"testing"
)

func TestReader(t *testing.T) {
	r := Reader{B: []byte{0x01, 0x02, 3, 'a', 'b', 'c', 0, 1, 'd'}}
	if n := r.Uint(2); n != 0x0102 {
		t.Errorf("Uint(2): %#x, want 0x102", n)
	}
	if p := r.Bytes(1); string(p) != "abc" {
		t.Errorf("Bytes(1): %q, want abc", p)
	}
	if r.Done() {
		t.Error("Done before the end")
	}
	if p := r.Bytes(2); string(p) != "d" {
		t.Errorf("Bytes(2): %q, want d", p)
	}
	if !r.Done() {
		t.Errorf("not Done, with %d bytes left, Bad %v", len(r.B), r.Bad)
	}
}

// Missing bytes are reported once and for all, and no part of them is returned.
func TestReaderMissing(t *testing.T) {
	for _, x := range []struct {
		name string
		b    []byte
		read func(r *Reader) bool // whether something was returned
	}{
		{"a number", []byte{1}, func(r *Reader) bool { return r.Uint(2) != 0 }},
		{"a length", []byte{0}, func(r *Reader) bool { return r.Bytes(2) != nil }},
		{"what a length counts", []byte{3, 'a', 'b'}, func(r *Reader) bool { return r.Bytes(1) != nil }},
		{"what a negative length counts", bytes.Repeat([]byte{0xff}, 9), func(r *Reader) bool { return r.Bytes(8) != nil }},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := Reader{B: x.b}
			if x.read(&r) {
				t.Error("something was returned")
			}
			r.B = nil
			if !r.Bad || r.Done() {
				t.Errorf("Bad %v, Done %v, want true and false", r.Bad, r.Done())
			}
		})
	}
}

// Different values are written differently, and a set in any order the same.
func TestWriter(t *testing.T) {
	a, b, ab := []byte("a"), []byte("b"), []byte("ab")
	written := map[string]string{}
	for name, write := range map[string]func(w *Writer){
		"nothing":          func(w *Writer) {},
		"a number":         func(w *Writer) { w.Uint(1) },
		"an empty list":    func(w *Writer) { w.List(nil) },
		"ab":               func(w *Writer) { w.Bytes(ab) },
		"a, then b":        func(w *Writer) { w.Bytes(a); w.Bytes(b) },
		"a list of a, b":   func(w *Writer) { w.List([][]byte{a, b}) },
		"a list of b, a":   func(w *Writer) { w.List([][]byte{b, a}) },
		"two lists, a | b": func(w *Writer) { w.List([][]byte{a}); w.List([][]byte{b}) },
	} {
		var w Writer
		write(&w)
		if other, ok := written[string(w.B)]; ok {
			t.Errorf("%s is written as %s: %x", name, other, w.B)
		}
		written[string(w.B)] = name
	}
	list := [][]byte{b, a}
	var set, sorted Writer
	set.Set(list)
	sorted.List([][]byte{a, b})
	if !bytes.Equal(set.B, sorted.B) {
		t.Errorf("a set of b, a: %x, want %x", set.B, sorted.B)
	}
	if string(list[0]) != "b" {
		t.Error("Set has sorted the caller's list")
	}
}

package main

import (
	"path/filepath"
	"testing"
)

// TestFaultsApply tests that the text each fault replaces is there, so that a change
// of the library and of its faults come in one commit.
func TestFaultsApply(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal("the root of the module: ", err)
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			if _, err := apply(f, root, t.TempDir()); err != nil {
				t.Errorf("apply: %v", err)
			}
		})
	}
}

package main

import "regexp"

// detector is a target of the Makefile that looks for faults.
type detector struct {
	target string         // with its parameters
	looks  string         // what it looks for
	figure *regexp.Regexp // finds its figure in its output; nil counts tests
	seeded string         // a fault that it was seen to find
}

var detectors = []detector{
	{"test", "wrong answers, in every module", nil,
		"each fault of `make mutants`"},
	{"lint", "style, suspicious code, warnings of the C compiler, known vulnerabilities", regexp.MustCompile(`never`), "an unused function in C"},
}

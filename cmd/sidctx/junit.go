package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	engine "github.com/sidctx/openssl/probe"
)

// These are the elements of JUnit's format that its readers agree on.
type (
	junitSuites struct {
		XMLName xml.Name   `xml:"testsuites"`
		Suite   junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Failure *junitMessage `xml:"failure"`
		Error   *junitMessage `xml:"error"`
		Out     string        `xml:"system-out,omitempty"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
	}
)

// writeJUnit writes a test case for each offer of report: a failure if it crossed, an
// error if it is undecided. What else makes the probe inconclusive, or err, is one more
// case each, an error: a reader of the file must not see success where the exit status
// is another.
func writeJUnit(out io.Writer, target engine.Target, report *engine.Report, err error) error {
	suite := junitSuite{Name: "sidctx probe " + target.Addr}
	if report == nil {
		report = &engine.Report{}
	}
	for _, row := range report.Rows {
		c := junitCase{Class: "sidctx.probe", Out: row.Outcome}
		switch {
		case row.Crossing:
			c.Failure = &junitMessage{row.Why}
			suite.Failures++
		case row.Undecided:
			c.Error = &junitMessage{row.Why}
			suite.Errors++
		}
		row.Outcome, row.Why = "", ""
		c.Name = strings.TrimSuffix(row.String(), ": ")
		suite.Cases = append(suite.Cases, c)
	}
	whys := report.Inconclusive
	if err != nil {
		whys = append(whys, err.Error())
	}
	for i, why := range whys {
		suite.Cases = append(suite.Cases, junitCase{Class: "sidctx.probe", Name: fmt.Sprintf("conclusive %d", i+1), Error: &junitMessage{why}})
		suite.Errors++
	}
	suite.Tests = len(suite.Cases)
	if _, err := io.WriteString(out, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(out)
	e.Indent("", "  ")
	return e.Encode(junitSuites{Suite: suite})
}

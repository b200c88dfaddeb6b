package spec

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"
)

//go:generate sh -c "go run ../../cmd/sidctx matrix -spec > ../../SPEC.md"

//go:embed intro.md
var intro string

// Legend explains the letters.
var Legend = []string{
	"R+ resumed, and the server sees the certificate of the first connection",
	"R- resumed, and the server sees no certificate",
	"f  full handshake, without an error on either end",
	"X  fatal on the server: session id context uninitialized (277); the client hears internal_error",
	"N  fatal on the server: peer did not return a certificate (199), in a full handshake",
}

// WriteMarkdown writes SPEC.md. It says the same on every version.
func WriteMarkdown(w io.Writer) error {
	tables, err := Tables()
	if err != nil {
		return err
	}
	cases, err := Cases()
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString(intro)
	writeTables(&b, tables)
	writeCases(&b, cases)
	writeLeft(&b, cases)
	writePrograms(&b, cases)
	_, err = io.WriteString(w, b.String())
	return err
}

func row(b *strings.Builder, cells ...string) {
	for i := range cells {
		cells[i] = strings.ReplaceAll(cells[i], "|", `\|`)
	}
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

func header(b *strings.Builder, cells ...string) {
	row(b, slices.Clone(cells)...)
	for i := range cells {
		cells[i] = "---"
	}
	row(b, cells...)
}

func writeTables(b *strings.Builder, tables []Table) {
	fmt.Fprintf(b, "\n## What the server decides\n\n"+
		"A client connects, and offers the session it was given in a second connection: %d pairs of\n"+
		"connections, the library on both ends. `A -> B` are the contexts of the first and the second connection,\n"+
		"`none > peer` the server's verify modes; a single verify mode holds for both. The cells hold for\n"+
		"TLS 1.2 and TLS 1.3 alike, and for every version, unless they say otherwise.\n\n", len(Rows(tables)))
	for _, line := range Legend {
		letter, text, _ := strings.Cut(line, " ")
		fmt.Fprintf(b, "* `%s`: %s\n", letter, strings.TrimSpace(text))
	}
	b.WriteString("\nThe mechanisms are `ticket` (the client carries the sealed session), `stateful` (libssl's cache: by session\n" +
		"id in TLS 1.2, by a 32-byte ticket in TLS 1.3) and `external` (a session store).\n")
	for _, t := range tables {
		fmt.Fprintf(b, "\n### %s\n\n", t.Title)
		columns := []string{"mechanism", "contexts"}
		for _, c := range t.Columns {
			columns = append(columns, strings.ReplaceAll(c, ">", " > "))
		}
		header(b, append(columns, "versions differ")...)
		for _, l := range t.Lines {
			cells := []string{l.Mechanism, strings.ReplaceAll(l.Contexts, "->", " -> ")}
			var differ []string
			for i, v := range l.Cells {
				text, byVersion := cell(v)
				cells = append(cells, text)
				if byVersion != "" {
					differ = append(differ, t.Columns[i]+": "+byVersion)
				}
			}
			row(b, append(cells, orNo(strings.Join(differ, "; ")))...)
		}
	}
}

// cell is a value for both protocols, and where versions differ.
func cell(v Value) (text, byVersion string) {
	newest := Series[len(Series)-1].Number
	of := make(map[string]string)
	var differ []string
	for _, p := range Protocols {
		of[p] = v.For(p, newest)
		if spans := v.spans(p); spans != "" {
			differ = append(differ, p+": "+spans)
		}
	}
	if of["TLS1.2"] == of["TLS1.3"] {
		return of["TLS1.2"], strings.Join(differ, ", ")
	}
	return fmt.Sprintf("TLS 1.2: %s, TLS 1.3: %s", of["TLS1.2"], of["TLS1.3"]), strings.Join(differ, ", ")
}

// spans is a value by version, "3 (1.1.1), 2 (3.0 to 4.0)", empty if it is the same everywhere.
func (v Value) spans(protocol string) string {
	all := v.ByVersion(protocol)
	var spans []string
	for i := 0; i < len(all); {
		last := i
		for last+1 < len(all) && all[last+1] == all[i] {
			last++
		}
		where := Series[i].Name
		if last > i {
			where += " to " + Series[last].Name
		}
		spans = append(spans, fmt.Sprintf("%s (%s)", all[i], where))
		i = last + 1
	}
	return strings.Join(spans, ", ")
}

func orNo(s string) string {
	if s == "" {
		return "no"
	}
	return s
}

func (e Expectation) spans() string {
	protocol, _, _ := strings.Cut(e.Key, "/")
	return e.Value.spans(protocol)
}

func writeCases(b *strings.Builder, cases []Case) {
	throughGo, both := 0, 0
	for _, c := range cases {
		if c.Go {
			throughGo++
		}
		if c.Go && c.C {
			both++
		}
	}
	fmt.Fprintf(b, "\n## The cases\n\n"+
		"%d cases, run by `TestSpec` under their names, for each protocol and mechanism that they are about. %d run\n"+
		"through the public Go API, %d of these with a C program beside them that shows what libssl does alone; where\n"+
		"the library refuses earlier, the case says so. %d need what the library does not offer and are C programs only.\n"+
		"The programs are in `internal/spec/programs`.\n",
		len(cases), throughGo, both, len(cases)-throughGo)
	part := ""
	for _, c := range cases {
		if c.Part != part {
			part = c.Part
			fmt.Fprintf(b, "\n### %s\n\n", part)
			header(b, "case", "runs as", "what holds", "versions differ")
		}
		as := "Go"
		switch {
		case c.Go && c.C:
			as = "Go, C"
		case c.C:
			as = "C"
		}
		var differ []string
		for _, e := range c.Lines {
			if spans := e.spans(); spans != "" {
				differ = append(differ, e.Key+": "+spans)
			}
		}
		row(b, c.Name, as, c.Text, orNo(strings.Join(differ, "; ")))
	}
}

func writeLeft(b *strings.Builder, cases []Case) {
	b.WriteString("\n## What is left out\n\n")
	header(b, "case", "what", "why")
	for _, c := range cases {
		for _, left := range c.Left {
			what, why, _ := strings.Cut(left, ": ")
			row(b, c.Name, what, why)
		}
	}
}

func writePrograms(b *strings.Builder, cases []Case) {
	b.WriteString("\n## What the C programs say\n\n" +
		"`R` is resumed, `f` a full handshake; numbers are reason codes, those above 1000 the\n" +
		"peer's alert.\n")
	for _, c := range cases {
		if !c.C {
			continue
		}
		fmt.Fprintf(b, "\n### %s\n\n", c.Name)
		for _, e := range c.Lines {
			text := e.For(Series[len(Series)-1].Number)
			if spans := e.spans(); spans != "" {
				text = spans
			}
			fmt.Fprintf(b, "    %s: %s\n", e.Key, text)
		}
	}
}

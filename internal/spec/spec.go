// Package spec is the specification of session id contexts as data, and what
// holds the linked libssl against it: the decision tables (decisions.txt), the
// list of cases (cases.txt) and the C programs (programs) for what the library
// does not offer. TestSpec, the command sidctx matrix and SPEC.md share it.
package spec

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
)

// Series are the versions that the specification speaks about, each by the
// number of its first release.
var Series = []struct {
	Name   string
	Number uint64
}{
	{"1.1.1", 0x10101000},
	{"3.0", 0x30000000},
	{"3.5", 0x30500000},
	{"3.6", 0x30600000},
	{"4.0", 0x40000000},
}

// A Value is what is expected, and where something else is: "2[<3.0=3]".
type Value struct {
	usual      string
	exceptions []exception
}

type exception struct{ where, value string }

// ParseValue reads the notation of decisions.txt and cases.txt. The first
// exception that applies counts.
func ParseValue(text string) (v Value, err error) {
	usual, rest, found := strings.Cut(text, "[")
	v.usual = usual
	for found {
		var inner string
		if inner, rest, found = strings.Cut(rest, "]"); !found {
			return v, fmt.Errorf("spec: %q: a bracket stays open", text)
		}
		sign := strings.TrimLeft(inner, "<>=") // of <, or >=
		where, value, ok := strings.Cut(sign, "=")
		where = inner[:len(inner)-len(sign)] + where
		if !ok || !known(where) {
			return v, fmt.Errorf("spec: %q is no exception", inner)
		}
		v.exceptions = append(v.exceptions, exception{where, value})
		if rest, found = strings.CutPrefix(rest, "["); !found && rest != "" {
			return v, fmt.Errorf("spec: %q behind an exception", rest)
		}
	}
	return v, nil
}

// For is the value for a protocol ("TLS1.3") and a version by
// OPENSSL_VERSION_NUMBER.
func (v Value) For(protocol string, version uint64) string {
	for _, e := range v.exceptions {
		if applies(e.where, protocol, version) {
			return e.value
		}
	}
	return v.usual
}

// ByVersion is the value for each of Series, nil if they are all the same.
func (v Value) ByVersion(protocol string) []string {
	var all []string
	differs := false
	for _, s := range Series {
		all = append(all, v.For(protocol, s.Number))
		differs = differs || all[len(all)-1] != all[0]
	}
	if !differs {
		return nil
	}
	return all
}

func known(where string) bool {
	if where == "TLS1.2" || where == "TLS1.3" {
		return true
	}
	_, _, ok := bound(where)
	return ok
}

// bound splits "<3.0" and ">=3.6" into a direction and a number.
func bound(where string) (below bool, number uint64, ok bool) {
	text, below := strings.CutPrefix(where, "<")
	if !below {
		if text, ok = strings.CutPrefix(where, ">="); !ok {
			return false, 0, false
		}
	}
	var parts [3]uint64
	fields := strings.Split(text, ".")
	if len(fields) < 2 || len(fields) > len(parts) {
		return false, 0, false
	}
	for i, field := range fields {
		n, err := strconv.ParseUint(field, 10, 8)
		if err != nil {
			return false, 0, false
		}
		parts[i] = n
	}
	// From 3.0 on the third number stands where 1.1.1 has its letter.
	if parts[0] >= 3 {
		return below, parts[0]<<28 | parts[1]<<20 | parts[2]<<4, true
	}
	return below, parts[0]<<28 | parts[1]<<20 | parts[2]<<12, true
}

func applies(where, protocol string, version uint64) bool {
	if below, number, ok := bound(where); ok {
		return below == (version < number)
	}
	return where == protocol
}

//go:embed decisions.txt
var decisionsText string

// Table is one of the decision tables.
type Table struct {
	Name, Title string
	Certificate bool     // the client has one
	Columns     []string // verify modes, "none" or "none>peer"
	Lines       []Line
}

// Line is one mechanism and one pair of contexts in a Table.
type Line struct {
	Mechanism string // of Mechanisms
	Contexts  string // "A->B"
	Cells     []Value
}

// Protocols and Mechanisms are what every line holds for, and of.
var (
	Protocols  = []string{"TLS1.2", "TLS1.3"}
	Mechanisms = []string{Ticket, Stateful, External}
)

// Tables reads the decision tables.
func Tables() ([]Table, error) { return parseTables(decisionsText) }

func parseTables(text string) (tables []Table, err error) {
	for i, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if fields[0] == "table" {
			tables = append(tables, Table{})
		}
		if len(tables) == 0 {
			return nil, fmt.Errorf("spec: decisions, line %d: before the first table", i+1)
		}
		t := &tables[len(tables)-1]
		rest := fields[1:]
		switch fields[0] {
		case "table":
			t.Name = strings.Join(rest, " ")
		case "title":
			t.Title = strings.Join(rest, " ")
		case "certificate":
			t.Certificate = strings.Join(rest, " ") == "yes"
		case "columns":
			t.Columns = rest
		default:
			if len(fields) != 2+len(t.Columns) {
				return nil, fmt.Errorf("spec: decisions, line %d: %d cells for %d columns", i+1, len(fields)-2, len(t.Columns))
			}
			l := Line{Mechanism: fields[0], Contexts: fields[1]}
			for _, cell := range fields[2:] {
				v, err := ParseValue(cell)
				if err != nil {
					return nil, fmt.Errorf("spec: decisions, line %d: %w", i+1, err)
				}
				l.Cells = append(l.Cells, v)
			}
			t.Lines = append(t.Lines, l)
		}
	}
	return tables, nil
}

// Row is one experiment: two connections, the second one offers the session of
// the first.
type Row struct {
	Table       string `json:"table"`
	Protocol    string `json:"protocol"`
	Mechanism   string `json:"mechanism"`
	First       string `json:"first"`        // session id context of the first connection: A, B or unset
	Second      string `json:"second"`       // and of the second
	VerifyFirst string `json:"verify_first"` // none, peer or required
	Verify      string `json:"verify"`       // of the second connection
	Certificate bool   `json:"certificate"`  // the client has one

	expected Value
}

// Rows unrolls the tables.
func Rows(tables []Table) (rows []Row) {
	for _, t := range tables {
		for _, protocol := range Protocols {
			for _, l := range t.Lines {
				first, second, _ := strings.Cut(l.Contexts, "->")
				for i, column := range t.Columns {
					before, after, changes := strings.Cut(column, ">")
					if !changes {
						after = before
					}
					rows = append(rows, Row{
						Table: t.Name, Protocol: protocol, Mechanism: l.Mechanism,
						First: first, Second: second,
						VerifyFirst: before, Verify: after,
						Certificate: t.Certificate,
						expected:    l.Cells[i],
					})
				}
			}
		}
	}
	return rows
}

// Expected is the outcome that the specification has for a version.
func (r Row) Expected(version uint64) string { return r.expected.For(r.Protocol, version) }

// String names the row.
func (r Row) String() string {
	client := "with a certificate"
	if !r.Certificate {
		client = "without a certificate"
	}
	return fmt.Sprintf("%s %s, %s->%s, verify %s>%s, client %s",
		r.Protocol, r.Mechanism, r.First, r.Second, r.VerifyFirst, r.Verify, client)
}

// Command sidctx shows what a session id context does, with real connections:
//
//	sidctx demo [-break]
//	sidctx matrix [-json] [-spec]
//	sidctx probe host:port -host a.example -host b.example [-cert b.example=cert.pem,key.pem] [-json]
//	sidctx serve [-host a.test] [-host b.test:cert] [-addr address] [-dir folder] [-same-context]
//
// The exit status is 0 where all is as it should be; 1 where it is not, when a
// session has crossed for one; 2 for a command line that cannot be meant.
//
// Every subcommand has a file of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// command is a subcommand. run reports to out, and its flags' help to errOut.
type command struct {
	name, does string
	run        func(ctx context.Context, out, errOut io.Writer, args []string) error
}

var commands = []command{
	{"demo", "try to resume sessions within and across two tenants, and compare with what must happen", demo},
	{"matrix", "compare what the linked libssl decides with the specification", matrix},
	{"probe", "offer sessions of each virtual host of a server at its others", probe},
	{"serve", "serve two virtual hosts, to point probe, curl or openssl s_client at", serve},
}

// errUsage is for a command line that cannot be understood; help has been printed.
var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Stderr, os.Args[1:])
	stop()
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, errOut io.Writer, args []string) error {
	if len(args) > 0 {
		for _, c := range commands {
			if c.name != args[0] {
				continue
			}
			if err := c.run(ctx, out, errOut, args[1:]); err != nil {
				return fmt.Errorf("sidctx %s: %w", c.name, err)
			}
			return nil
		}
		fmt.Fprintf(errOut, "sidctx: there is no command %q\n", args[0])
	}
	fmt.Fprintln(errOut, "usage: sidctx COMMAND [-h]")
	for _, c := range commands {
		fmt.Fprintf(errOut, "  %-8s %s\n", c.name, c.does)
	}
	return errUsage
}

// parse reads the flags of a command that takes nothing else. done is whether
// help was asked for, and given.
func parse(flags *flag.FlagSet, errOut io.Writer, args []string) (done bool, err error) {
	flags.SetOutput(errOut)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return true, nil
	case err != nil:
		return false, errUsage // Parse has said what is wrong
	case flags.NArg() > 0:
		fmt.Fprintf(errOut, "sidctx %s: %q is no flag\n", flags.Name(), flags.Arg(0))
		return false, errUsage
	}
	return false, nil
}

// paint is an ANSI colour, or none.
type paint bool

const (
	red   = "31"
	green = "32"
	bold  = "1"
)

func (p paint) in(colour, text string) string {
	if !p {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// paintFor paints on terminals only: character devices other than the null device.
func paintFor(out io.Writer) paint {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return paint(err != nil || !os.SameFile(info, null))
}

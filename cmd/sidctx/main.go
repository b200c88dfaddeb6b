// Command sidctx shows what a session id context does, with real connections.
//
//	sidctx demo     resume sessions within and across two tenants, and check the outcome
//	sidctx probe    check whether the virtual hosts of a running server share sessions
//	sidctx serve    run a server with two virtual hosts to try the above on
//	sidctx matrix   compare the linked libssl with the specification
//	sidctx version  print the linked and the compiled version of OpenSSL
//
// "sidctx COMMAND -h" prints the flags of a command, its exit statuses and an example. Install it with
//
//	go install github.com/sidctx/openssl/cmd/sidctx@latest
//
// The exit status is 0 on success, 1 if a check has failed, and 2 on a usage error. Of
// probe it is
//
//	0  no session has crossed, and sessions were resumed at the hosts that made them
//	1  a session has crossed from one host to another
//	2  the command line is wrong
//	3  inconclusive: nothing was resumed, a host refused every visit or is unknown to the
//	   server, or a protocol version is not spoken
//	4  no TLS server has answered
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
	"slices"
	"strings"
	"syscall"

	engine "github.com/sidctx/openssl/probe"
)

// command is a subcommand. run writes its results to out, and help and notes to
// errOut.
type command struct {
	name, does string
	run        func(ctx context.Context, out, errOut io.Writer, args []string) error
}

var commands = []command{
	{"demo", "resume sessions within and across two tenants, and check the outcome", demo},
	{"probe", "check whether the virtual hosts of a running server share sessions", probe},
	{"serve", "run a server with two virtual hosts to try probe, curl or openssl s_client on", serve},
	{"matrix", "compare the linked libssl with the specification", matrix},
	{"version", "print the linked and the compiled version of OpenSSL", version},
}

// badUsage is the meaning of exit status 2.
const badUsage = "the command line is wrong"

// errUsage reports a usage error. The message and the help have been printed.
var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Stderr, os.Args[1:])
	stop()
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		os.Exit(2)
	case errors.Is(err, errInconclusive):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	case errors.Is(err, engine.ErrConnect):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(4)
	default:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, errOut io.Writer, args []string) error {
	if len(args) > 1 && args[0] == "help" {
		args = []string{args[1], "-h"}
	}
	help := len(args) > 0 && slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0])
	if len(args) > 0 && !help {
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
	fmt.Fprint(errOut, "usage: sidctx COMMAND [flags]\n\n")
	for _, c := range commands {
		fmt.Fprintf(errOut, "  %-8s %s\n", c.name, c.does)
	}
	fmt.Fprint(errOut, "\n\"sidctx COMMAND -h\" prints the flags of a command, its exit statuses and an example.\n")
	if help {
		return nil
	}
	return errUsage
}

// newFlags makes the flags of a command. Its help ends with what the exit statuses mean,
// from 0, and an example.
func newFlags(errOut io.Writer, name, args, example string, statuses ...string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.Usage = func() {
		fmt.Fprintln(errOut, strings.TrimSpace("usage: sidctx "+name+" "+args))
		flags.PrintDefaults()
		fmt.Fprintln(errOut, "exit status:")
		for status, means := range statuses {
			fmt.Fprintf(errOut, "  %d  %s\n", status, means)
		}
		fmt.Fprintf(errOut, "example:\n  %s\n", strings.ReplaceAll(example, "\n", "\n  "))
	}
	return flags
}

// parse reads the flags of a command that takes no other arguments. done reports
// that help was asked for, and has been printed.
func parse(flags *flag.FlagSet, errOut io.Writer, args []string) (done bool, err error) {
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return true, nil
	case err != nil:
		return false, errUsage // Parse has printed what is wrong
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

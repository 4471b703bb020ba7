// Command tandem is the whole of Tandem in one program: the server, a device for
// Linux, and the operator's tools. Each file of this folder is one subcommand.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	completion "github.com/jotaen/kong-completion"

	"github.com/tandem-call/tandem/wire"
)

// version is set by the Makefile.
var version = "dev"

type commands struct {
	Serve   serveCommand   `cmd:"" help:"Start the server."`
	Demo    demoCommand    `cmd:"" help:"A first call, from enrolment to the end, told step by step."`
	Device  deviceCommand  `cmd:"" help:"Be a device: enrol, and run beside a telephone."`
	Report  reportCommand  `cmd:"" help:"Report a call by hand."`
	Session sessionCommand `cmd:"" help:"Show sessions and their messages; extend or leave one."`
	Profile profileCommand `cmd:"" help:"What others may see of you during calls, and who has seen it."`
	Contact contactCommand `cmd:"" help:"Your address book on the server."`
	Place   placeCommand   `cmd:"" help:"Ask where the other one is; share where you are."`
	Console consoleCommand `cmd:"" help:"Be an agent who answers a provider's calls: sign in, state, notes, transfer."`
	Send    sendCommand    `cmd:"" help:"Send a text, a link or files into a session."`
	Overlay overlayCommand `cmd:"" help:"Check and show the buttons that a provider lays over the call screen."`

	Token    tokenCommand    `cmd:"" group:"Operator" help:"Make, list and revoke API keys."`
	Identity identityCommand `cmd:"" group:"Operator" help:"Give parties further identities; mark shared numbers."`
	Coupling couplingCommand `cmd:"" group:"Operator" help:"Couple devices with telephones that cannot carry data."`
	Call     callCommand     `cmd:"" group:"Operator" help:"Explain why calls match, or do not."`
	Party    partyCommand    `cmd:"" group:"Operator" help:"Export or erase all that is kept of a party; bar numbers."`
	Push     pushCommand     `cmd:"" group:"Operator" help:"Try whether a party's devices can be woken."`
	Webhook  webhookCommand  `cmd:"" group:"Operator" help:"Send events to other programs."`
	Tenant   tenantCommand   `cmd:"" group:"Operator" help:"Share the server between tenants who see nothing of each other."`
	Payment  paymentCommand  `cmd:"" group:"Operator" help:"Take payments: accounts with a payment server, and what was paid."`
	Agent    agentCommand    `cmd:"" group:"Operator" help:"A provider's agents: who they are, how they sign in, what they are doing."`
	Secrets  secretsCommand  `cmd:"" group:"Operator" help:"Change the server's secret."`
	Audit    auditCommand    `cmd:"" group:"Operator" help:"Export the audit log, and verify it."`
	Store    storeCommand    `cmd:"" group:"Operator" help:"Verify, repair, back up and restore the data."`

	Version    versionCommand        `cmd:"" help:"Show the version."`
	Completion completion.Completion `cmd:"" help:"Say how to turn on completions in your shell."`
}

const description = `Tandem opens a data session beside a phone call.

A first look, with nothing else installed:

  tandem serve          start the server (data in ./data)
  tandem demo           a guided first call, with a server of its own

Two devices by hand:

  tandem device enrol --as alice --number +442079460001
  tandem device enrol --as bob   --number +442079460002
  tandem report --as alice --to +442079460002
  tandem report --as bob   --to +442079460001
  tandem send --as alice "hello" photo.jpg`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int {
	var c commands
	parser := kong.Must(&c,
		kong.Name("tandem"), kong.Description(description),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.ExplicitGroups([]kong.Group{{Key: "Operator", Title: "For operators:"}}),
	)
	completion.Register(parser)
	k, err := parser.Parse(args)
	if err != nil {
		parser.Errorf("%s", err)
		var p *kong.ParseError
		if errors.As(err, &p) {
			fmt.Fprintf(os.Stderr, "\nSee: %s --help\n", strings.TrimSpace("tandem "+p.Context.Command()))
		}
		return 2
	}
	if err := k.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "tandem: "+explain(err))
		return 1
	}
	return 0
}

// explain gives an error as a person needs it: with what to do next.
func explain(err error) string {
	var p *wire.Problem
	if errors.As(err, &p) {
		text := p.Error()
		for _, f := range p.Errors {
			text += fmt.Sprintf("\n  %s: %s", f.Location, f.Message)
		}
		if known, ok := wire.Catalogue[p.Code]; ok {
			text += "\n  " + known.Advice
		}
		return text
	}
	return err.Error()
}

type versionCommand struct{}

func (versionCommand) Run() error {
	fmt.Println("tandem", version)
	return nil
}

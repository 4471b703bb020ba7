package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/internal/store/archive"
)

// engineFlags say which data is meant, as those of tandem serve do.
type engineFlags struct {
	Config string `short:"c" env:"TANDEM_CONFIG" type:"existingfile" placeholder:"FILE" help:"Configuration file of the server."`
	Data   string `placeholder:"DIR" help:"Data directory (default: data)."`
	NATS   string `name:"nats" placeholder:"URL" help:"The data is in this NATS JetStream cluster."`
}

func (f engineFlags) load() (server.Config, error) {
	return (&serveCommand{Config: f.Config, Data: f.Data, NATS: f.NATS}).load()
}

type storeExport struct {
	engineFlags
	To string `arg:"" help:"File to write; it must not exist."`
}

// Help is shown by --help.
func (storeExport) Help() string {
	return `Stop all servers first: what they would still write would be missing. Records, messages,
counters and files go into one file; it holds secrets, like the data itself. The file is
whole when the command says so.`
}

func (c *storeExport) Run(ctx context.Context) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	begun := time.Now()
	f, err := os.OpenFile(c.To, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	sum, err := server.ExportData(ctx, cfg, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(c.To))
	}
	fmt.Printf("exported in %s\n%s", took(begun), inventory(sum))
	return nil
}

type storeImport struct {
	engineFlags
	From string `arg:"" type:"existingfile" help:"File that tandem store export wrote."`
}

// Help is shown by --help.
func (storeImport) Help() string {
	return `The data directory or cluster must hold nothing yet, and no server may run on it. All is read
back and compared before the command says that it is done. Devices resume in a new epoch: they
forget what they have of a session and read it anew.`
}

func (c *storeImport) Run(ctx context.Context) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	begun := time.Now()
	f, err := os.Open(c.From)
	if err != nil {
		return err
	}
	defer f.Close()
	sum, err := server.ImportData(ctx, cfg, f)
	if err != nil {
		return err
	}
	fmt.Printf("imported, read back and found the same in %s\n%s", took(begun), inventory(sum))
	return nil
}

func took(begun time.Time) time.Duration { return time.Since(begun).Round(10 * time.Millisecond) }

func inventory(s archive.Summary) string {
	return fmt.Sprintf("records: %d in %d tables\nlogs: %d with %d entries\ncounters: %d\nfiles: %d\nsize: %s\nsha256: %s\n",
		s.Records, s.Tables, s.Logs, s.Entries, s.Counters, s.Files, bytesText(s.Bytes), s.Digest)
}

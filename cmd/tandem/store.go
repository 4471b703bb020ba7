package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

type storeCommand struct {
	Verify  storeVerify  `cmd:"" help:"Read everything in a stopped server's data, and say whether it is sound."`
	Repair  storeRepair  `cmd:"" help:"Make damaged data open again; only with --accept-loss is anything given up."`
	Backup  storeBackup  `cmd:"" help:"Write a backup of a running server's data."`
	Restore storeRestore `cmd:"" help:"Make a data directory from a backup."`
	Export  storeExport  `cmd:"" help:"Write all that stopped servers have kept into one file, to move to a cluster or back."`
	Import  storeImport  `cmd:"" help:"Fill an empty data directory or cluster from such a file."`
}

type storeVerify struct {
	Data string `default:"data" env:"TANDEM_DATA" placeholder:"DIR" help:"Data directory (default: ${default})."`
}

func (c *storeVerify) Run(ctx context.Context) error {
	r, err := server.VerifyData(ctx, c.Data)
	if err != nil && !errors.Is(err, store.ErrDamaged) {
		return err
	}
	fmt.Printf("records: %d\nlogs: %d with %d entries\ncounters: %d\nread: %s in %d table files, each block against its checksum\nlast change: %d (at least %d was acknowledged)\nclosed in good order: %t\n",
		r.Records, r.Logs, r.Entries, r.Counters, bytesText(r.Bytes), r.Tables, r.Commit, r.Witness, r.Clean)
	if err != nil {
		return fmt.Errorf("%w\n  Restore a backup, or: tandem store repair --data %s --accept-loss", err, c.Data)
	}
	fmt.Println("sound")
	return nil
}

type storeRepair struct {
	Data       string `default:"data" env:"TANDEM_DATA" placeholder:"DIR" help:"Data directory (default: ${default})."`
	AcceptLoss bool   `help:"Give up acknowledged data that is lost; what is cut off is set aside in the folder lost."`
}

func (c *storeRepair) Run(ctx context.Context) error {
	r, err := server.RepairData(ctx, c.Data, c.AcceptLoss)
	if errors.Is(err, store.ErrDamaged) && !c.AcceptLoss {
		return fmt.Errorf("%w\n  A backup would lose less, if there is one. To go on without what is lost: --accept-loss", err)
	}
	if err != nil {
		return err
	}
	if r.Kept >= r.Acknowledged && len(r.SetAside) == 0 {
		fmt.Println("nothing to repair")
		return nil
	}
	fmt.Printf("repaired: changes up to %d are there", r.Kept)
	if r.Acknowledged > r.Kept {
		fmt.Printf("; up to %d had been acknowledged", r.Acknowledged)
	}
	fmt.Println()
	for _, f := range r.SetAside {
		fmt.Println("set aside:", f)
	}
	return nil
}

type storeBackup struct {
	host
	To string `arg:"" help:"Directory to write to; it must not exist."`
}

func (c *storeBackup) Run(ctx context.Context) error {
	to, err := filepath.Abs(c.To)
	if err != nil {
		return err
	}
	var done wire.BackupDone
	if err := c.call(ctx, http.MethodPost, "/v1/operator/backups", wire.BackupRequest{Dir: to}, &done); err != nil {
		return err
	}
	fmt.Printf("backup of %s in %s\n", bytesText(done.Bytes), done.Dir)
	return nil
}

type storeRestore struct {
	From string `arg:"" type:"existingdir" help:"Directory of the backup."`
	Data string `default:"data" env:"TANDEM_DATA" placeholder:"DIR" help:"Data directory to make; it must be empty or absent (default: ${default})."`
}

func (c *storeRestore) Run(ctx context.Context) error {
	if err := server.RestoreData(ctx, c.From, c.Data); err != nil {
		return err
	}
	fmt.Printf("restored into %s; devices that were ahead of the backup will be told to forget what it lacks\n", c.Data)
	return nil
}

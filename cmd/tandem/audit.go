package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/wire"
)

type auditCommand struct {
	Export auditExport `cmd:"" help:"Print the audit log, one entry of JSON per line."`
	Verify auditVerify `cmd:"" help:"Check that no entry of the audit log was removed, changed or moved."`
}

// auditPageSize is how many entries are asked for at once.
const auditPageSize = 1000

type auditExport struct {
	operator
	After uint64 `placeholder:"SEQ" help:"Only entries after this one."`
	Of    string `placeholder:"IDENTITY" help:"Only entries about the party with this number, or other identity."`
}

func (c *auditExport) Run(ctx context.Context) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	err = auditPages(ctx, api, c.After, c.Of, func(line string, _ wire.AuditEntry) error {
		_, err := fmt.Fprintln(out, line)
		return err
	})
	return errors.Join(err, out.Flush())
}

// auditPages walks the audit log, page by page.
func auditPages(ctx context.Context, api *client.API, after uint64, of string, each func(line string, e wire.AuditEntry) error) error {
	for {
		q := url.Values{"after": {strconv.FormatUint(after, 10)}, "limit": {strconv.Itoa(auditPageSize)}}
		if of != "" {
			q.Set("of", of)
		}
		page, err := api.Lines(ctx, "/v1/operator/audit?"+q.Encode())
		if err != nil {
			return err
		}
		n := 0
		err = auditLines(page, func(line string, e wire.AuditEntry) error {
			n, after = n+1, e.Seq
			return each(line, e)
		})
		if err = errors.Join(err, page.Close()); err != nil || n < auditPageSize {
			return err
		}
	}
}

func auditLines(r io.Reader, each func(line string, e wire.AuditEntry) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var e wire.AuditEntry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("line %d is not an entry: %w", n, err)
		}
		if err := each(lines.Text(), e); err != nil {
			return err
		}
	}
	return lines.Err()
}

type auditVerify struct {
	operator
	File   string `arg:"" optional:"" type:"existingfile" help:"An export, from its first entry on. Left out: the running server's log."`
	Anchor string `placeholder:"SEQ:HASH" help:"What an earlier check printed as the anchor: it must still be there."`
}

func (c *auditVerify) Run(ctx context.Context) error {
	var v audit.Verifier
	if c.Anchor != "" {
		seq, hash, ok := strings.Cut(c.Anchor, ":")
		n, err := strconv.ParseUint(seq, 10, 64)
		if !ok || err != nil || hash == "" {
			return errors.New("--anchor: write SEQ:HASH, as an earlier check printed it")
		}
		v.AnchorSeq, v.Anchor = n, hash
	}
	add := func(_ string, e wire.AuditEntry) error { v.Add(e); return nil }
	if err := c.read(ctx, add); err != nil {
		return err
	}
	faults := v.End()
	for _, f := range faults {
		fmt.Println(f)
	}
	fmt.Printf("entries: %d\n", v.Entries)
	if len(faults) > 0 {
		return fmt.Errorf("the audit log is not as it was written: %d faults", len(faults))
	}
	if v.Entries > 0 {
		fmt.Printf("anchor: %d:%s\n", v.Seq, v.Head)
	}
	fmt.Println("sound")
	return nil
}

func (c *auditVerify) read(ctx context.Context, each func(string, wire.AuditEntry) error) error {
	if c.File == "" {
		api, err := c.api()
		if err != nil {
			return err
		}
		return auditPages(ctx, api, 0, "", each)
	}
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	return errors.Join(auditLines(f, each), f.Close())
}

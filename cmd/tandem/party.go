package main

type partyCommand struct {
	Export  partyExport  `cmd:"" help:"Print all that is kept of a party, as JSON."`
	Erase   partyErase   `cmd:"" help:"Erase all that is kept of a party."`
	Block   partyBlock   `cmd:"" help:"Bar a number: no enrolment, no matches, no sessions; open ones are closed."`
	Unblock partyUnblock `cmd:"" help:"Take the bar back."`
	Blocks  partyBlocks  `cmd:"" help:"List barred numbers."`
}

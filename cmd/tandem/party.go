package main

type partyCommand struct {
	Block   partyBlock   `cmd:"" help:"Bar a number: no enrolment, no matches, no sessions; open ones are closed."`
	Unblock partyUnblock `cmd:"" help:"Take the bar back."`
	Blocks  partyBlocks  `cmd:"" help:"List barred numbers."`
}

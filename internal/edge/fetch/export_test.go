package fetch

// Refuse is refuse, for the table of addresses: most of them lead nowhere from here.
var Refuse = refuse

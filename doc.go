// Package tandem is the root of the Tandem server's module; the program is cmd/tandem
// and the device SDK is in client. arch_test.go holds the plan of the house.
package tandem

// Package webpages serves Tandem's pages: the call page (SPEC A1 in the browser, A2, B2, B6,
// B10, B15, C1), built from web/callpage, and the agents' console (I1), built from web/agent; both
// embedded in the program.
//
// [New] makes a [Handler]. Pages are built by `make pages` into the folder built, whose
// content is not committed; a program that was built without them serves one page that
// says so. Each answer carries a content security policy of its own: scripts, styles and
// connections of this very origin only, nothing inline, and no frames but the two phones of
// Try it.
package webpages

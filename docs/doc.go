// Package docs holds the manual. Its tests keep it true: they run the commands that the
// pages show against a real server and compare what these print (commands_test.go), decode
// the frames and configurations that the pages show (docs_test.go), and follow the links.
//
// A page tells the tests what a reader does not need to see, in HTML comments on lines of
// their own:
//
//	<!-- test: serve [NAME=VALUE …] -->   start the server here, with this environment
//	<!-- test: end NAME -->               end a background program ("server" too)
//	<!-- test: background NAME -->        the next block's command runs in the background
//	<!-- test: await NAME REGEXP -->      wait until a background program prints such a line
//	<!-- test: file NAME -->              the next block is the content of a file
//	<!-- test: picture NAME -->           a picture file is there
//	<!-- test: fails -->                  the last command of the next block fails
//	<!-- test: run COMMAND -->            a command that the reader is not shown
//	<!-- test: skip REASON -->            the next block cannot run in a test
//	<!-- test: body TYPE -->              the next block is a body of this type, not a frame
package docs

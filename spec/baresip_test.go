package spec

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

const modules = "/usr/lib/baresip/modules"

// startBaresip starts a real softphone with a number. Its control interface takes one
// client at a time, the device; so the script's own commands come through a second way
// in, the phone's HTTP module, as from its user.
func startBaresip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: baresip NAME NUMBER [REGISTRAR [TRANSPORT [CODEC]]]")
	}
	name, number := args[0], args[1]
	if _, err := os.Stat(modules); err != nil {
		ts.Fatalf("baresip is not installed (scripts/test-deps installs it): %v", err)
	}
	dir := filepath.Join(worldOf(ts).work, name)
	ts.Check(os.MkdirAll(dir, 0o755))
	sip, ctrl, web := ts.Getenv(name+"_sip"), ts.Getenv(name+"_ctrl"), ts.Getenv(name+"_http")
	if sip == "" { // a second start takes the same ports
		addr := func() string { return "127.0.0.1:" + strconv.Itoa(freePort(ts)) }
		sip, ctrl, web = addr(), addr(), addr()
		ts.Setenv(name+"_sip", sip)
		ts.Setenv(name+"_ctrl", ctrl)
		ts.Setenv(name+"_http", web)
	}
	codec, rate, channels := "PCMU", "8000", "1"
	if len(args) > 4 {
		codec = args[4] // as opus/48000/2
		if parts := strings.Split(codec, "/"); len(parts) == 3 {
			rate, channels = parts[1], parts[2]
		}
	}
	config := []string{
		"poll_method epoll", "sip_listen " + sip, "call_max_calls 4",
		"audio_player aubridge,nil", "audio_source aubridge,nil", "audio_alert aubridge,nil",
		"ausrc_srate " + rate, "auplay_srate " + rate, "ausrc_channels " + channels, "auplay_channels " + channels,
		"module_path " + modules, "module g711.so", "module opus.so", "module aubridge.so", "module uuid.so",
		"module_tmp account.so", "module_app menu.so", "module_app ctrl_tcp.so", "module_app httpd.so",
		"ctrl_tcp_listen " + ctrl, "http_listen " + web,
		"module sndfile.so", "snd_path " + dir, // what is heard, for the command heard
	}
	ts.Check(os.WriteFile(filepath.Join(dir, "config"), []byte(strings.Join(config, "\n")+"\n"), 0o644))
	at, registers := sip, "regint=0"
	if len(args) > 2 {
		at, registers = args[2], "regint=60"
	}
	if len(args) > 3 {
		at += ";transport=" + args[3]
	}
	account := fmt.Sprintf("<sip:%s@%s>;%s;answermode=manual;audio_codecs=%s\n", number, at, registers, codec)
	ts.Check(os.WriteFile(filepath.Join(dir, "accounts"), []byte(account), 0o644))
	ts.Check(os.WriteFile(filepath.Join(dir, "contacts"), nil, 0o644))
	p := start(ts, name, environ(ts), "baresip", "-f", dir)
	if p.await(regexp.MustCompile(`baresip is ready`)) == "" {
		ts.Fatalf("the softphone %s did not start; it said:\n%s", name, p.text())
	}
	if len(args) > 2 && p.await(regexp.MustCompile(`200 OK.*\[\d+ binding`)) == "" {
		ts.Fatalf("the softphone %s did not register; it said:\n%s", name, p.text())
	}
}

// phone gives a softphone a command: a baresip by its web page, dial URI, accept, hangup and so on; a
// Linphone what is typed at it.
func phone(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: phone NAME dial|accept|hangup|hold|resume|transfer|keys [ARG]")
	}
	if p := worldOf(ts).program(ts, args[0]); p.in != nil {
		p.typed(ts, strings.Join(args[1:], " "))
		return
	}
	commands := map[string]string{"dial": "d", "accept": "a", "hangup": "b", "hold": "x", "resume": "X", "transfer": "t"}
	command, ok := commands[args[1]]
	switch {
	case ok:
		press(ts, args[0], command+strings.Join(args[2:], ""))
	case args[1] == "keys":
		for _, key := range strings.ReplaceAll(strings.Join(args[2:], ""), "-", "") {
			press(ts, args[0], string(key))
		}
	default:
		ts.Fatalf("a phone does not %s", args[1])
	}
}

// press types at the phone, as its user.
func press(ts *testscript.TestScript, name, what string) {
	c, err := net.DialTimeout("tcp", ts.Getenv(name+"_http"), 5*time.Second)
	ts.Check(err)
	defer c.Close()
	_, err = fmt.Fprintf(c, "GET /?%s HTTP/1.1\r\nHost: phone\r\nConnection: close\r\n\r\n", url.QueryEscape(what))
	ts.Check(err)
	ts.Check(c.SetReadDeadline(time.Now().Add(5 * time.Second)))
	status, err := bufio.NewReader(c).ReadString('\n')
	ts.Check(err)
	if !strings.Contains(status, "200") {
		ts.Fatalf("phone %s: %s", name, status)
	}
}

// heard wants a phone to have heard sound, not silence, for so many seconds at least.
func heard(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: heard NAME SECONDS")
	}
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	files, err := filepath.Glob(filepath.Join(worldOf(ts).work, args[0], "*-dec.wav"))
	ts.Check(err)
	const header, perSecond, loud = 44, 50, 500 // a WAV file of 16 bits; parts of 20 ms; of 32,768
	parts := 0
	for _, f := range files {
		wav, err := os.ReadFile(f)
		ts.Check(err)
		if len(wav) < header {
			continue
		}
		part := int(binary.LittleEndian.Uint32(wav[28:])) / perSecond // bytes a second are in the header
		if part == 0 {
			continue
		}
		for sound := wav[header:]; len(sound) >= part; sound = sound[part:] {
			peak := 0
			for i := 0; i+1 < part; i += 2 {
				peak = max(peak, int(int16(binary.LittleEndian.Uint16(sound[i:]))))
			}
			if peak > loud {
				parts++
			}
		}
	}
	if parts < want*perSecond {
		ts.Fatalf("phone %s heard %.1f s of sound in %d files, want %d s", args[0], float64(parts)/perSecond, len(files), want)
	}
}

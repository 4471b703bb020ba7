package ivr

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/emiago/diago/media"
	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

// sounds are the kinds that we speak.
var sounds = []media.Codec{media.CodecAudioOpus, media.CodecAudioUlaw, media.CodecAudioAlaw}

// events are telephone events (RFC 4733) with the clock of the sound that they go with, in hertz.
func events(clock uint32) media.Codec {
	c := media.CodecTelephoneEvent8000
	c.SampleRate = clock
	return c
}

var errNoSound = errors.New("ivr: the offer has no sound that is understood")

// tidied lets the library see of an offer (RFC 3264) only what is agreed on. Offers come from
// outside, as they are: one that describes a payload type twice ended the program.
func tidied(next sipgo.RequestHandler) sipgo.RequestHandler {
	return func(req *sip.Request, tx sip.ServerTransaction) {
		switch {
		case req.Method == sip.ACK:
			req.SetBody(nil) // it would be an answer, and we never offer
		case req.Method == sip.INVITE && len(req.Body()) > 0:
			offer, err := tidy(req.Body())
			if err != nil {
				res := sip.NewResponseFromRequest(req, sip.StatusNotAcceptableHere, "Not Acceptable Here", nil)
				res.AppendHeader(sip.NewHeader("Warning", `305 tandem "`+err.Error()+`"`)) // RFC 3261 20.43
				_ = tx.Respond(res)                                                        // gone: nobody is told
				return
			}
			req.SetBody(offer)
		}
		next(req, tx)
	}
}

// tidy returns the offer with one kind of sound, the first of ours in the caller's order
// (RFC 3264 6.1), and the telephone events that go with it. Who offers no events is heard by tones, in G.711.
func tidy(offer []byte) ([]byte, error) {
	kinds := map[string]media.Codec{"0": media.CodecAudioUlaw, "8": media.CodecAudioAlaw} // by payload type; RFC 3551
	var lines, sound []string
	for line := range strings.FieldsFuncSeq(string(offer), func(r rune) bool { return r == '\r' || r == '\n' }) {
		switch value, isMap := strings.CutPrefix(line, "a=rtpmap:"); {
		case isMap:
			if format, kind, ok := strings.Cut(value, " "); ok && kinds[format].Name == "" {
				kinds[format] = ofMap(kind)
			}
			continue
		case strings.HasPrefix(line, "a=fmtp:"):
			continue
		case strings.HasPrefix(line, "m="):
			if sound != nil {
				return nil, errors.New("ivr: more is offered than sound")
			}
			sound = strings.Fields(line[len("m="):])
			line = "" // its place
		}
		lines = append(lines, line)
	}
	if len(sound) < 4 || sound[0] != "audio" || strings.HasPrefix(sound[1], "0") {
		return nil, errNoSound
	}
	formats := slices.DeleteFunc(sound[3:], func(f string) bool {
		n, err := strconv.Atoi(f)
		return err != nil || n < 0 || n > 127 || strconv.Itoa(n) != f
	})
	hasEvents := slices.ContainsFunc(formats, func(f string) bool { return kinds[f].Name == media.CodecTelephoneEvent8000.Name })
	spoken := slices.IndexFunc(formats, func(f string) bool {
		return slices.ContainsFunc(sounds, kinds[f].Matches) && (hasEvents || kinds[f].SampleRate == toneRate) // or else no key is heard
	})
	if spoken < 0 {
		return nil, errNoSound
	}
	agreed := []string{formats[spoken]}
	// Events have the clock of the sound that they go with (RFC 4733 2.1); many offer 8 kHz only (RFC 7874 3).
	for _, clock := range []uint32{kinds[agreed[0]].SampleRate, media.CodecTelephoneEvent8000.SampleRate} {
		if i := slices.IndexFunc(formats, func(f string) bool { return kinds[f].Matches(events(clock)) }); i >= 0 {
			agreed = append(agreed, formats[i])
			break
		}
	}
	lines[slices.Index(lines, "")] = "m=" + strings.Join(append(sound[:3:3], agreed...), " ")
	for _, f := range agreed {
		k := kinds[f]
		line := fmt.Sprintf("a=rtpmap:%s %s/%d", f, k.Name, k.SampleRate)
		if k.NumChannels > 1 {
			line += "/" + strconv.Itoa(k.NumChannels)
		}
		lines = append(lines, line)
	}
	return []byte(strings.Join(lines, "\r\n") + "\r\n"), nil
}

// ofMap is what a=rtpmap says of a payload type: name, clock and channels.
func ofMap(kind string) media.Codec {
	name, rest, _ := strings.Cut(kind, "/")
	clock, channels, _ := strings.Cut(strings.TrimSpace(rest), "/")
	c := media.Codec{Name: strings.ToLower(name), NumChannels: 1}
	if rate, err := strconv.ParseUint(clock, 10, 32); err == nil {
		c.SampleRate = uint32(rate)
	}
	if n, err := strconv.Atoi(channels); err == nil {
		c.NumChannels = n
	}
	return c
}

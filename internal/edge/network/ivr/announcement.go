package ivr

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/emiago/diago/audio"
	"github.com/emiago/diago/media"
)

// An Announcement is speech that was prepared once, and is sent to any number of calls as it is:
// packets of 20 ms for each kind of sound. So no call has an encoder.
type Announcement struct {
	packets map[string][][]byte // by the codec's name
}

// samples of a packet of G.711.
const samples = 160

// NewAnnouncement takes the same speech twice: as a WAV file (16 bits, 8 kHz, one channel), which
// becomes G.711, and as an Ogg Opus file (RFC 7845) of packets with one frame of 20 ms, as opusenc
// makes them. It fails if one is of another kind.
func NewAnnouncement(wav, opus []byte) (*Announcement, error) {
	a := &Announcement{packets: map[string][][]byte{}}
	var err error
	if a.packets[media.CodecAudioOpus.Name], err = opusPackets(opus); err != nil {
		return nil, err
	}
	r := audio.NewWavReader(bytes.NewReader(wav))
	if err := r.ReadHeaders(); err != nil {
		return nil, fmt.Errorf("ivr: announcement: %w", err)
	}
	if r.BitsPerSample != 16 || r.SampleRate != 8000 || r.NumChannels != 1 {
		return nil, fmt.Errorf("ivr: announcement: a WAV file of %d bits, %d Hz, %d channels: want 16, 8000, 1", r.BitsPerSample, r.SampleRate, r.NumChannels)
	}
	for {
		pcm := make([]byte, 2*samples) // the last is filled up with silence
		_, err := io.ReadFull(r, pcm)
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("ivr: announcement: %w", err)
		}
		for name, encode := range map[string]func(to, pcm []byte) (int, error){
			media.CodecAudioUlaw.Name: audio.EncodeUlawTo, media.CodecAudioAlaw.Name: audio.EncodeAlawTo,
		} {
			p := make([]byte, samples)
			if _, err := encode(p, pcm); err != nil {
				return nil, fmt.Errorf("ivr: announcement: %w", err)
			}
			a.packets[name] = append(a.packets[name], p)
		}
	}
}

// opusPackets are the packets of sound in an Ogg Opus file.
func opusPackets(file []byte) ([][]byte, error) {
	var packets [][]byte
	var packet []byte
	for len(file) > 0 {
		// A page (RFC 3533 6): a header of 27 bytes, the lengths of its segments, the segments. A segment of
		// 255 bytes goes on in the next.
		if len(file) < 27 || string(file[:4]) != "OggS" || len(file) < 27+int(file[26]) {
			return nil, errors.New("ivr: announcement: not an Ogg file")
		}
		segments, rest := file[27:][:file[26]], file[27+int(file[26]):]
		for _, n := range segments {
			if len(rest) < int(n) {
				return nil, errors.New("ivr: announcement: an Ogg file that is cut off")
			}
			packet, rest = append(packet, rest[:n]...), rest[n:]
			if n < 255 {
				packets, packet = append(packets, packet), nil
			}
		}
		file = rest
	}
	const headers = 2 // RFC 7845 3
	if len(packets) <= headers || !bytes.HasPrefix(packets[0], []byte("OpusHead")) || !bytes.HasPrefix(packets[1], []byte("OpusTags")) {
		return nil, errors.New("ivr: announcement: not an Ogg Opus file")
	}
	packets = packets[headers:]
	for i, p := range packets {
		if !oneFrameOf20ms(p) {
			return nil, fmt.Errorf("ivr: announcement: packet %d of Opus is not one frame of 20 ms (opusenc --framesize 20)", i)
		}
	}
	return packets, nil
}

// oneFrameOf20ms reads the first byte of a packet of Opus (RFC 6716 3.1): five bits of
// configuration, one of channels, two of the number of frames.
func oneFrameOf20ms(packet []byte) bool {
	if len(packet) == 0 || packet[0]&3 != 0 {
		return false
	}
	switch c := packet[0] >> 3; {
	case c < 12: // SILK: 10, 20, 40, 60 ms
		return c&3 == 1
	case c < 16: // hybrid: 10, 20 ms
		return c&1 == 1
	default: // CELT: 2.5, 5, 10, 20 ms
		return c&3 == 3
	}
}

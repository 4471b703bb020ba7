package place

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/tandem-call/tandem/internal/pidflo"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// PicturePath is where pictures of places are fetched; what follows is sealed.
const PicturePath = "/v1/place-pictures/"

// way is how a place is sent to a device: which of these, the capability check decides (F5).
type way struct{ picture, link, pidf bool }

func (w way) suffix() string {
	s := ""
	for _, x := range []struct {
		is   bool
		mark string
	}{{w.picture, "-p"}, {w.link, "-l"}, {w.pidf, "-x"}} {
		if x.is {
			s += x.mark
		}
	}
	return s
}

// wayTo a device that can do what it says. Who cannot even open a link gets one all the same, if
// there is a mapping service: its user may.
func (s *Service) wayTo(can wire.PlaceAbility) way {
	w := way{pidf: can.PIDFLO}
	switch can.Show {
	case wire.ShowMap:
	case wire.ShowPicture:
		w.picture = true
	case wire.ShowLink:
		w.link, w.picture = s.cfg.Link != "", s.cfg.Link == "" // the picture's address is a link, too
	default:
		w.link = s.cfg.Link != ""
	}
	return w
}

// shown is the message in the way that a device can show it.
func (s *Service) shown(msg wire.PlaceMessage, w way) wire.PlaceMessage {
	if w.link {
		msg.Link = Link(s.cfg.Link, msg.Place)
	}
	if w.picture {
		msg.Picture = s.cfg.URL + PicturePath + s.seal.close(msg.Place, s.cfg.Now().Add(wire.PlacePictureHours*time.Hour)) + ".png"
	}
	if w.pidf {
		msg.PIDFLO = string(pidflo.Render(msg.Place, ""))
	}
	return msg
}

// Opened returns the place that a picture's address holds, sealed. ErrNotFound for what this server has
// not sealed, or not lately.
func (s *Service) Opened(sealed string) (wire.Place, error) {
	p, until, err := s.seal.open(sealed)
	if err != nil || s.cfg.Now().After(until) {
		return wire.Place{}, ErrNotFound
	}
	return p, nil
}

// seal hides places in addresses, so that nothing of them is kept, or stands in anybody's log. The
// key is one for all nodes: table "place-key".
type seal struct{ aead cipher.AEAD }

type sealKey struct {
	Key []byte `json:"key"`
}

func newSeal(ctx context.Context, e store.Engine) (*seal, error) {
	k, err := store.Change(ctx, store.TableOf[sealKey](e, "place-key"), "key", func(k sealKey, exists bool) (sealKey, bool, error) {
		if !exists {
			k.Key = make([]byte, 32)
			_, _ = rand.Read(k.Key) // never fails (crypto/rand)
		}
		return k, !exists, nil
	})
	if err != nil {
		return nil, fmt.Errorf("place: key: %w", err)
	}
	block, err := aes.NewCipher(k.Key)
	if err != nil {
		return nil, fmt.Errorf("place: key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("place: key: %w", err)
	}
	return &seal{aead}, nil
}

// sealedBytes: longitude and latitude in 10⁻⁷ degrees, the radius in metres, and the end in Unix seconds.
const sealedBytes = 4 + 4 + 4 + 8

func (s *seal) close(p wire.Place, until time.Time) string {
	c := p.Geometry.Coordinates
	b := make([]byte, 0, sealedBytes)
	b = binary.BigEndian.AppendUint32(b, uint32(int32(math.Round(c[0]*1e7))))
	b = binary.BigEndian.AppendUint32(b, uint32(int32(math.Round(c[1]*1e7))))
	b = binary.BigEndian.AppendUint32(b, uint32(min(math.MaxUint32, math.Ceil(p.Properties.Accuracy))))
	b = binary.BigEndian.AppendUint64(b, uint64(until.Unix()))
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, b, nil))
}

func (s *seal) open(sealed string) (wire.Place, time.Time, error) {
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err == nil {
		raw, err = s.aead.Open(nil, nil, raw, nil)
	}
	if err != nil || len(raw) != sealedBytes {
		return wire.Place{}, time.Time{}, ErrNotFound
	}
	at := func(i int) float64 { return float64(int32(binary.BigEndian.Uint32(raw[i:]))) / 1e7 }
	p := point(at(4), at(0))
	p.Properties.Accuracy = float64(binary.BigEndian.Uint32(raw[8:]))
	return p, time.Unix(int64(binary.BigEndian.Uint64(raw[12:])), 0), nil
}

package ivr

import "math"

// tones finds key presses in the sound itself (ITU-T Q.23, Q.24), for telephones and gateways that
// send no telephone events: each key is two tones at once, one of four low and one of four high
// ones. It looks at blocks of 25.6 ms, and takes a key of two blocks in a row, 40 ms at least, as Q.24 wants.
type tones struct {
	block []float64
	found rune // in the block before; 0: none
	taken bool // found was returned already
}

const (
	toneRate  = 8000 // Hz
	toneBlock = 205
	// quietest power of a tone, of full scale 32,768: -36 dBm0 or so.
	quietestTone = 300.0 * 300.0 / 2
	// purest is how much of the power two tones must have between them; speech has more beside them.
	purest = 0.8
	// twist is how much stronger one of the two may be (8 dB).
	twist = 6.3
)

var (
	lowTones  = [4]float64{697, 770, 852, 941}
	highTones = [4]float64{1209, 1336, 1477, 1633}
	toneKeys  = [4][4]rune{{'1', '2', '3', 'A'}, {'4', '5', '6', 'B'}, {'7', '8', '9', 'C'}, {'*', '0', '#', 'D'}}
)

// press returns the keys that are pressed within further sound of 8 kHz.
func (t *tones) press(pcm []int16) (keys []rune) {
	for _, v := range pcm {
		t.block = append(t.block, float64(v))
		if len(t.block) < toneBlock {
			continue
		}
		key := keyIn(t.block)
		t.block = t.block[:0]
		switch {
		case key == 0 || key != t.found:
			t.found, t.taken = key, false
		case !t.taken:
			t.taken = true
			keys = append(keys, key)
		}
	}
	return keys
}

// keyIn is the key whose two tones make up a block; 0: none.
func keyIn(block []float64) rune {
	var power float64
	for _, v := range block {
		power += v * v
	}
	power /= float64(len(block))
	row, low := strongest(block, lowTones)
	column, high := strongest(block, highTones)
	if low < quietestTone || high < quietestTone || low+high < purest*power || low > twist*high || high > twist*low {
		return 0
	}
	return toneKeys[row][column]
}

// strongest tone of four in a block, and its power (Goertzel).
func strongest(block []float64, of [4]float64) (at int, power float64) {
	for i, f := range of {
		w := 2 * math.Cos(2*math.Pi*f/toneRate)
		var a, b float64
		for _, v := range block {
			a, b = v+w*a-b, a
		}
		n := float64(len(block))
		if p := 2 * (a*a + b*b - w*a*b) / (n * n); p > power {
			at, power = i, p
		}
	}
	return at, power
}

package readers

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/snappy"
	"github.com/stretchr/testify/require"
)

// wordy is text that compresses, of n bytes.
func wordy(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for b.Len() < n {
		b.WriteString(strings.Repeat(string(rune('a'+rng.IntN(26))), 1+rng.IntN(80)))
		if rng.IntN(20) == 0 {
			for range rng.IntN(3000) {
				b.WriteByte(byte(rng.IntN(256)))
			}
		}
	}
	return b.Bytes()[:n]
}

// blocks compresses as Google's library and those after it do: each 64 KiB for itself.
func blocks(data []byte) []byte {
	packed := binary.AppendUvarint(nil, uint64(len(data)))
	for len(data) > 0 {
		block := snappy.Encode(nil, data[:min(len(data), 64<<10)])
		_, n := binary.Uvarint(block)
		packed = append(packed, block[n:]...)
		data = data[min(len(data), 64<<10):]
	}
	return packed
}

func TestSnappyStreamEqualsTheBlockDecoder(t *testing.T) {
	for _, n := range []int{0, 1, 59, 60, 61, 255, 256, 257, 65535, 65536, 65537, 1 << 20, 5<<20 + 3} {
		data := wordy(n)
		packed := blocks(data)
		for name, src := range map[string]io.Reader{
			"whole": bytes.NewReader(packed), "halves": iotest.HalfReader(bytes.NewReader(packed)),
		} {
			got, err := io.ReadAll(newSnappyReader(src, snappyWindow, 2*snappyWindow))
			require.NoError(t, err, "%d bytes, %s", n, name)
			require.True(t, bytes.Equal(data, got), "%d bytes, %s", n, name)
		}
	}
}

// farBack is a Snappy block whose last element refers to its first bytes, over more than a
// window of others.
func farBack() (packed, data []byte) {
	filler := wordy(3 * snappyWindow)
	data = append([]byte("beginning"), filler...)
	data = append(data, "beginning"...)
	packed = binary.AppendUvarint(nil, uint64(len(data)))
	literal := len(data) - 9
	packed = append(packed, 62<<2, byte(literal-1), byte((literal-1)>>8), byte((literal-1)>>16))
	packed = append(packed, data[:literal]...)
	packed = append(packed, (9-1)<<2|3)
	return binary.LittleEndian.AppendUint32(packed, uint32(literal)), data
}

func TestSnappyStreamSaysThatAReferenceIsFar(t *testing.T) {
	packed, data := farBack()
	want, err := snappy.Decode(nil, packed)
	require.NoError(t, err)
	require.Equal(t, data, want)

	got, err := io.ReadAll(newSnappyReader(bytes.NewReader(packed), snappyWindow, 2*snappyWindow))
	require.ErrorIs(t, err, errFar)
	require.Equal(t, data[:len(data)-9], got)

	got, err = io.ReadAll(newSnappyReader(bytes.NewReader(packed), len(data), len(data)))
	require.NoError(t, err)
	require.Equal(t, data, got)
}

func FuzzSnappyStream(f *testing.F) {
	for _, n := range []int{0, 1, 100, 70000} {
		f.Add(snappy.Encode(nil, wordy(n)))
	}
	far, _ := farBack()
	f.Add(far)
	f.Fuzz(func(t *testing.T, packed []byte) {
		if n, err := snappy.DecodedLen(packed); err != nil || n > 1<<24 {
			return
		}
		want, wantErr := snappy.Decode(nil, packed)
		got, err := io.ReadAll(newSnappyReader(bytes.NewReader(packed), len(want)+1<<16, len(want)+1<<17))
		if wantErr == nil {
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got))
		}
		got, err = io.ReadAll(newSnappyReader(bytes.NewReader(packed), snappyWindow, 2*snappyWindow))
		if wantErr == nil && !errors.Is(err, errFar) {
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got))
		}
	})
}

func TestLevelsComeBackAsTheyWere(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for maxLevel := 1; maxLevel < 400; maxLevel = maxLevel*3 + 1 {
		var want []int
		var b []byte
		width := newLevelRuns(nil, maxLevel).width
		for range 50 {
			if rng.IntN(2) == 0 {
				n, level := 1+rng.IntN(100), rng.IntN(maxLevel+1)
				b = appendRun(b, level, n, maxLevel)
				for range n {
					want = append(want, level)
				}
				continue
			}
			groups := 1 + rng.IntN(4)
			b = binary.AppendUvarint(b, uint64(groups)<<1|1)
			packed := make([]byte, groups*width)
			for i := range groups * 8 {
				level := rng.IntN(maxLevel + 1)
				want = append(want, level)
				for k := range width {
					at := i*width + k
					packed[at/8] |= byte(level>>k&1) << (at % 8)
				}
			}
			b = append(b, packed...)
		}
		r := newLevelRuns(b, maxLevel)
		var got []int
		for len(got) < len(want) {
			level, n, err := r.peek()
			require.NoError(t, err)
			n = min(n, 1+rng.IntN(n))
			for range n {
				got = append(got, level)
			}
			r.take(n)
		}
		require.Equal(t, want, got)
		_, _, err := r.peek()
		require.ErrorIs(t, err, errBadLevels)
	}
}

func TestPageHeaderComesBackAsItWas(t *testing.T) {
	want := pageHeader{kind: pageDataV2, unpacked: 1 << 20, stored: 1 << 20, values: 77, rows: 77, defLen: 5}
	b := appendPageHeader(nil, want)
	got, n, err := parsePageHeader(append(b, 1, 2, 3))
	require.NoError(t, err)
	require.Equal(t, len(b), n)
	require.Equal(t, want, got)
	for i := range b {
		_, _, err := parsePageHeader(b[:i])
		require.ErrorIs(t, err, errShortHeader, "cut at %d", i)
	}
}

func FuzzPageHeader(f *testing.F) {
	f.Add(appendPageHeader(nil, pageHeader{unpacked: 9, values: 2}))
	f.Add([]byte{0x15, 0, 0x15, 0x80, 0x01, 0x15, 0x40, 0x2c, 0x15, 0x10, 0x15, 0, 0x15, 6, 0x15, 6, 0x1c, 0x18, 1, 'x', 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, n, err := parsePageHeader(b); err == nil && (n <= 0 || n > len(b)) {
			t.Fatalf("a header of %d bytes in %d", n, len(b))
		}
	})
}

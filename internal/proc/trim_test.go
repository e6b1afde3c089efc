package proc

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// filePages returns how much of this process's files is resident, in kB.
func filePages(t *testing.T) (kb int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssFile:"); ok {
			if _, err := fmt.Sscan(rest, &kb); err != nil {
				t.Fatal(err)
			}
		}
	}
	return kb
}

// TestTrim: what of the program was only used once is resident no more, and it goes on.
func TestTrim(t *testing.T) {
	before := filePages(t)
	Trim()
	if after := filePages(t); after >= before {
		t.Errorf("%d kB were resident, and %d kB still are", before, after)
	}
}

// TestProgramMappings: only what is as it is in the file is let go.
func TestProgramMappings(t *testing.T) {
	const smaps = `00400000-00401000 r--p 00000000 fe:00 12 /usr/bin/procops
Size:                  4 kB
Anonymous:             0 kB
00401000-00500000 r-xp 00001000 fe:00 12 /usr/bin/procops
Rss:                 100 kB
Anonymous:             0 kB
00500000-00501000 r--p 00100000 fe:00 12 /usr/bin/procops
Anonymous:             4 kB
00501000-00502000 rw-p 00101000 fe:00 12 /usr/bin/procops
Anonymous:             0 kB
00502000-00503000 r--s 00000000 fe:00 12 /usr/bin/procops
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00000000 fe:00 13 /lib/libc.so
Anonymous:             0 kB
VmFlags: rd ex mr mw me
`
	got := programMappings(strings.NewReader(smaps), "/usr/bin/procops")
	want := []mapping{{0x400000, 0x401000}, {0x401000, 0x500000}}
	if !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

func TestPeakMemory(t *testing.T) {
	before := PeakMemory()
	block := make([]byte, 64<<20)
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
	if after := PeakMemory(); before < 1<<20 || after < before+32<<20 {
		t.Errorf("%d bytes, and with 64 MB more %d", before, after)
	}
}

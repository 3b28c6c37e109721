package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// units of durations, from large to small, in which order they are written.
var units = []struct {
	name string
	size time.Duration
}{
	{"d", 24 * time.Hour},
	{"h", time.Hour},
	{"m", time.Minute},
	{"s", time.Second},
	{"ms", time.Millisecond},
}

// parseDuration reads "30s", "5d" or "2h4m": whole numbers, each with its unit, the larger unit first.
func parseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf(`%q is not a duration: write numbers with the units d, h, m, s or ms, as in "30s", "2h4m" or "5d"`, s)
	var total time.Duration
	next := 0 // the largest unit that may follow
	for rest := s; rest != "" || s == ""; {
		digits := leadingDigits(rest)
		name := rest[len(digits):]
		name = name[:strings.IndexFunc(name+"0", func(r rune) bool { return r >= '0' && r <= '9' })]
		rest = rest[len(digits)+len(name):]
		unit := next
		for unit < len(units) && units[unit].name != name {
			unit++
		}
		if digits == "" || unit == len(units) {
			return 0, bad
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n > int64((math.MaxInt64-total)/units[unit].size) {
			return 0, fmt.Errorf("%q is too long for a duration: write less than 100000d", s)
		}
		total += time.Duration(n) * units[unit].size
		next = unit + 1
	}
	return total, nil
}

// formatDuration returns the shortest text that parseDuration reads as d, which is a whole number of milliseconds.
func formatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	for _, u := range units {
		if n := d / u.size; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.size
		}
	}
	return b.String()
}

// sizes are the units of sizes (IEC 80000-13), bytes.
var sizes = map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

// parseSize reads "64MiB" or "4096", in bytes.
func parseSize(s string) (int64, error) {
	digits := leadingDigits(s)
	unit, ok := sizes[s[len(digits):]]
	if digits == "" || !ok {
		return 0, fmt.Errorf(`%q is not a size: write a number of bytes or one with B, KiB, MiB or GiB, as in "64MiB"`, s)
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is too large for a size: write less than 1048576GiB", s)
	}
	return n * unit, nil
}

// formatSize returns n bytes in the largest unit that divides it.
func formatSize(n int64) string {
	for _, name := range []string{"GiB", "MiB", "KiB"} {
		if n != 0 && n%sizes[name] == 0 {
			return fmt.Sprintf("%d%s", n/sizes[name], name)
		}
	}
	return strconv.FormatInt(n, 10)
}

func leadingDigits(s string) string {
	return s[:strings.IndexFunc(s+"x", func(r rune) bool { return r < '0' || r > '9' })]
}

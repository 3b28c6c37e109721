package tftp

import (
	"regexp"
	"strings"
	"testing"
)

// requests are datagrams of clients, by the rule that they show.
var requests = map[string]struct {
	in   string
	want kind
}{
	"read":                           {"\x00\x01boot.img\x00octet\x00", request},
	"write":                          {"\x00\x02boot.img\x00octet\x00", request},
	"mode in any case":               {"\x00\x01a\x00NetASCII\x00", request},
	"mail is sent":                   {"\x00\x02user\x00mail\x00", request},
	"mail is not fetched":            {"\x00\x01user\x00mail\x00", malformed},
	"path and bytes above ASCII":     {"\x00\x01/srv/b\xc3\xb6ot \xff\x00octet\x00", request},
	"one option":                     {"\x00\x01a\x00octet\x00blksize\x001428\x00", request},
	"the options of a boot loader":   {"\x00\x01a\x00octet\x00tsize\x000\x00blksize\x001468\x00timeout\x005\x00windowsize\x004\x00", request},
	"a value may be empty":           {"\x00\x01a\x00octet\x00vendor\x00\x00", request},
	"sixteen options":                {"\x00\x01a\x00octet\x00" + options(16), request},
	"seventeen options":              {"\x00\x01a\x00octet\x00" + options(17), malformed},
	"512 bytes":                      {"\x00\x01" + strings.Repeat("x", 512-9) + "\x00octet\x00", request},
	"513 bytes":                      {"\x00\x01" + strings.Repeat("x", 512-8) + "\x00octet\x00", malformed},
	"an option twice":                {"\x00\x01a\x00octet\x00tsize\x000\x00TSIZE\x001\x00", malformed},
	"an option without a value":      {"\x00\x01a\x00octet\x00tsize\x00", malformed},
	"an option without a name":       {"\x00\x01a\x00octet\x00\x00", malformed},
	"a control character in options": {"\x00\x01a\x00octet\x00tsize\x00\x01\x00", malformed},
	"bytes behind the request":       {"\x00\x01a\x00octet\x00x", malformed},
	"no file":                        {"\x00\x01\x00octet\x00", malformed},
	"a control character":            {"\x00\x01a\nb\x00octet\x00", malformed},
	"unknown mode":                   {"\x00\x01a\x00binary\x00", malformed},
	"no mode":                        {"\x00\x01a\x00", malformed},
	"opcode alone":                   {"\x00\x01", malformed},
	"half an opcode":                 {"\x00", other},
	"nothing":                        {"", other},
	"data":                           {"\x00\x03\x00\x01hello\x00octet\x00", other},
	"acknowledgement":                {"\x00\x04\x00\x01", other},
	"error":                          {"\x00\x05\x00\x01File not found\x00", other},
	"option acknowledgement":         {"\x00\x06blksize\x001428\x00", other},
	"opcode of two bytes":            {"\x01\x01a\x00octet\x00", other},
}

func options(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(string(rune('a'+i)) + "\x001\x00")
	}
	return b.String()
}

func TestClassify(t *testing.T) {
	for name, tt := range requests {
		if got := classify([]byte(tt.in)); got != tt.want {
			t.Errorf("%s: %q is %d, want %d", name, tt.in, got, tt.want)
		}
	}
}

// Every truncation of a request is refused, but where it ends between two options.
func TestTruncated(t *testing.T) {
	const whole = "\x00\x01boot.img\x00octet\x00blksize\x001428\x00tsize\x000\x00"
	ends := map[int]bool{len(whole): true, len(whole) - 8: true, len(whole) - 8 - 13: true}
	for n := range len(whole) + 1 {
		if got := classify([]byte(whole[:n])); (got == request) != ends[n] {
			t.Errorf("%q is %d", whole[:n], got)
		}
	}
}

// slowRequest is the form of a request, without its limits.
var slowRequest = regexp.MustCompile(
	`\A\x00(?:\x01[^\x00-\x1f\x7f]+\x00(?i:netascii|octet)|\x02[^\x00-\x1f\x7f]+\x00(?i:netascii|octet|mail))\x00` +
		`(?:[ -~]+\x00[ -~]*\x00)*\z`)

// slowClassify is classify by a pattern.
func slowClassify(b string) kind {
	if !strings.HasPrefix(b, "\x00\x01") && !strings.HasPrefix(b, "\x00\x02") {
		return other
	}
	if len(b) > 512 || !slowRequest.MatchString(b) {
		return malformed
	}
	names := map[string]bool{}
	fields := strings.Split(b, "\x00")[3:] // behind nothing, opcode and file, and mode
	for i := 0; i+1 < len(fields); i += 2 {
		names[strings.ToLower(fields[i])] = true
	}
	if n := len(fields) / 2; n > 16 || len(names) != n {
		return malformed
	}
	return request
}

func FuzzClassify(f *testing.F) {
	for _, tt := range requests {
		f.Add([]byte(tt.in))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := classify(b), slowClassify(string(b)); got != want {
			t.Errorf("%q is %d, want %d", b, got, want)
		}
	})
}

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
	"mail is fetched by nobody":      {"\x00\x01user\x00mail\x00", request}, // the server says so
	"a mode in mixed case":           {"\x00\x01a\x00oCTeT\x00", request},
	"path and bytes above ASCII":     {"\x00\x01/srv/b\xc3\xb6ot \xff\x00octet\x00", request},
	"one option":                     {"\x00\x01a\x00octet\x00blksize\x001428\x00", request},
	"the options of a boot loader":   {"\x00\x01a\x00octet\x00tsize\x000\x00blksize\x001468\x00timeout\x005\x00windowsize\x004\x00", request},
	"a value may be empty":           {"\x00\x01a\x00octet\x00vendor\x00\x00", request},
	"sixteen options":                {"\x00\x01a\x00octet\x00" + options(16), request},
	"seventeen options":              {"\x00\x01a\x00octet\x00" + options(17), request},
	"512 bytes":                      {"\x00\x01" + strings.Repeat("x", 512-9) + "\x00octet\x00", request},
	"513 bytes":                      {"\x00\x01" + strings.Repeat("x", 512-8) + "\x00octet\x00", request},
	"1400 bytes":                     {"\x00\x01" + strings.Repeat("x", 1400) + "\x00octet\x00", request},
	"an option twice":                {"\x00\x01a\x00octet\x00tsize\x000\x00TSIZE\x001\x00", request},
	"an option without a value":      {"\x00\x01a\x00octet\x00tsize\x00", request},
	"an option without its last NUL": {"\x00\x01a\x00octet\x00tsize\x000", request},
	"an option without a name":       {"\x00\x01a\x00octet\x00\x00", request},
	"a control character in options": {"\x00\x01a\x00octet\x00tsize\x00\x01\x00", request},
	"bytes behind the request":       {"\x00\x01a\x00octet\x00x", request},
	"zeros behind the request":       {"\x00\x01a\x00octet\x00" + strings.Repeat("\x00", 500), request},
	"a mode without its last NUL":    {"\x00\x01a\x00octet", request},
	"no file":                        {"\x00\x01\x00octet\x00", malformed},
	"a control character":            {"\x00\x01a\nb\x00octet\x00", malformed},
	"unknown mode":                   {"\x00\x01a\x00binary\x00", request},
	"no mode":                        {"\x00\x01a\x00", request}, // in.tftpd answers "Missing mode", from a port of its own
	"a name that does not end":       {"\x00\x01boot.img", malformed},
	"a short binding request":        {"\x00\x01\x00\x08\x21\x12\xa4\x42abcdefghijkl\x00\x06\x00\x04user", malformed},
	"a long binding request":         {"\x00\x01\x01\x04\x21\x12\xa4\x42abcdefghijkl\x00\x06\x01\x00" + strings.Repeat("u", 256), malformed},
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

// A request is one as soon as it has its whole file name, and stays one whatever comes behind it.
func TestTruncated(t *testing.T) {
	const name, whole = "\x00\x01boot.img\x00", "\x00\x01boot.img\x00octet\x00blksize\x001428\x00tsize\x000\x00"
	for n := range len(whole) + 1 {
		if got := classify([]byte(whole[:n])); (got == request) != (n >= len(name)) {
			t.Errorf("%q is %d", whole[:n], got)
		}
	}
}

// slowRequest is what a request begins with.
var slowRequest = regexp.MustCompile(`\A\x00[\x01\x02][^\x00-\x1f\x7f]+\x00`)

// slowClassify is classify by a pattern.
func slowClassify(b string) kind {
	switch {
	case !strings.HasPrefix(b, "\x00\x01") && !strings.HasPrefix(b, "\x00\x02"):
		return other
	case !slowRequest.MatchString(b):
		return malformed
	}
	return request
}

// replies are datagrams of servers; what answers a request is its first.
var replies = map[string]struct {
	in   string
	want bool
}{
	"an error":                         {"\x00\x05\x00\x01File not found\x00", true},
	"an error without its end":         {"\x00\x05\x00\x01File", true},
	"the first block":                  {"\x00\x03\x00\x01data", true},
	"a first block without bytes":      {"\x00\x03\x00\x01", true},
	"the second block":                 {"\x00\x03\x00\x02data", false},
	"a block far on":                   {"\x00\x03\x01\x01data", false},
	"the leave to write":               {"\x00\x04\x00\x00", true},
	"the acknowledgement of a block":   {"\x00\x04\x00\x01", false},
	"the acknowledgement of options":   {"\x00\x06blksize\x001428\x00", true},
	"a block without a number":         {"\x00\x03\x00", false},
	"an acknowledgement of half a one": {"\x00\x04\x00", false},
	"a request":                        {"\x00\x01a\x00octet\x00", false},
	"another opcode":                   {"\x00\x07\x00\x01", false},
	"opcode of two bytes":              {"\x01\x05\x00\x01", false},
	"half an opcode":                   {"\x05", false},
	"nothing":                          {"", false},
}

func TestAnswers(t *testing.T) {
	for name, tt := range replies {
		if got := answers([]byte(tt.in)); got != tt.want {
			t.Errorf("%s: %q answers a request: %v", name, tt.in, got)
		}
	}
}

// slowAnswer is what answers a request.
var slowAnswer = regexp.MustCompile(`\A\x00(?:[\x05\x06]|\x03\x00\x01|\x04\x00\x00)`)

func FuzzClassify(f *testing.F) {
	for _, tt := range requests {
		f.Add([]byte(tt.in))
	}
	for _, tt := range replies {
		f.Add([]byte(tt.in))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := classify(b), slowClassify(string(b)); got != want {
			t.Errorf("%q is %d, want %d", b, got, want)
		}
		if got, want := answers(b), slowAnswer.Match(b); got != want {
			t.Errorf("%q answers a request: %v, want %v", b, got, want)
		}
	})
}

package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// progressEvery is the least time between two figures on a terminal.
const progressEvery = 100 * time.Millisecond

// progress is a line that shows a running figure on a terminal, and only the last one elsewhere.
type progress struct {
	out      io.Writer
	title    string
	terminal bool

	mu   sync.Mutex
	next time.Time // guarded by mu; when say may show again
}

func startProgress(out io.Writer, title string) *progress {
	p := &progress{out: out, title: title, terminal: isTerminal(out)}
	if p.terminal {
		fmt.Fprintf(out, "%s  ", title)
	}
	return p
}

// say shows a figure, if it is time to. It is safe for concurrent use.
func (p *progress) say(format string, args ...any) {
	if !p.terminal {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.After(p.next) {
		p.next = now.Add(progressEvery)
		fmt.Fprintf(p.out, "\r\x1b[K%s  %s", p.title, fmt.Sprintf(format, args...))
	}
}

// end shows the last figure and ends the line.
func (p *progress) end(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
	fmt.Fprintf(p.out, "%s  %s\n", p.title, text)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

package control

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDefaultSocket(t *testing.T) {
	for name, tt := range map[string]struct{ runtimeDirectory, xdg, want string }{
		"systemd first":                {"/run/natrouter", "/run/user/1000", "/run/natrouter/control.sock"},
		"first of several":             {"/run/a:/run/b", "", "/run/a/control.sock"},
		"user":                         {"", "/run/user/1000", "/run/user/1000/natrouter.sock"},
		"none":                         {"", "", ""},
		"empty first entry is no path": {":/run/b", "/run/user/1", "/run/user/1/natrouter.sock"},
	} {
		t.Setenv("RUNTIME_DIRECTORY", tt.runtimeDirectory)
		t.Setenv("XDG_RUNTIME_DIR", tt.xdg)
		if got := DefaultSocket(); got != tt.want {
			t.Errorf("%s: DefaultSocket() = %q, want %q", name, got, tt.want)
		}
	}
}

func TestListenIsForTheOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode %o, want 600", got)
	}
	l.Close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close: %v, want no file", err)
	}
}

func TestListenReplacesADeadSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	live, err := Listen(filepath.Join(dir, "live"))
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"live":                   "another router answers there",
		"file":                   "exists and is no socket",
		"absent/s":               "absent does not exist: make it",
		strings.Repeat("x", 110): "choose a shorter one",
	} {
		l, err := Listen(filepath.Join(dir, name))
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Listen(%s) = %v, want %q", name, err, want)
		}
	}
	if _, err := Listen(filepath.Join(dir, "live")); !errors.Is(err, ErrInUse) {
		t.Errorf("live socket: %v, want ErrInUse", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(b) != "keep" {
		t.Errorf("the file in the way holds %q, %v", b, err)
	}
	c, err := net.Dial("unix", filepath.Join(dir, "live"))
	if err != nil {
		t.Fatalf("the live socket went away: %v", err)
	}
	c.Close()
}

// Two routers that find the same dead socket must not both believe that they replaced it.
func TestListenAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	const routers = 8
	results := make(chan *net.UnixListener, routers)
	for range routers {
		go func() {
			l, err := Listen(path)
			if err != nil && !errors.Is(err, ErrInUse) {
				t.Error(err)
			}
			results <- l
		}()
	}
	listening := 0
	for range routers {
		if l := <-results; l != nil {
			listening++
			defer l.Close()
		}
	}
	if listening != 1 {
		t.Errorf("%d routers have the socket, want 1", listening)
	}
}

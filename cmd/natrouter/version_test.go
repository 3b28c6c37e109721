package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	got := command(t, "version")
	if got.code != exitOK || got.err != "" || !strings.HasPrefix(got.out, "natrouter ") || !strings.Contains(got.out, runtime.Version()) ||
		strings.Count(got.out, "\n") != 4 {
		t.Errorf("%+v", got)
	}
}

func TestVersionJSON(t *testing.T) {
	got := command(t, "version", "-o", "json")
	var v versionInfo
	if err := json.Unmarshal([]byte(got.out), &v); err != nil {
		t.Fatalf("%v: %+v", err, got)
	}
	if v.Go != runtime.Version() || v.Version == "" || v.Commit == "" || v.Gvisor == "" {
		t.Errorf("%+v", v)
	}
}

func TestManWritesAPageForEachCommand(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "0")
	dir := filepath.Join(t.TempDir(), "new")
	if got := command(t, "man", dir); got.code != exitOK || got.err != "" {
		t.Fatalf("%+v", got)
	}
	for _, cmd := range everyCommand() {
		if cmd.Name() == "help" {
			continue
		}
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
		page, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Errorf("%s: %v", cmd.CommandPath(), err)
		} else if !strings.Contains(string(page), ".SH EXAMPLE") || !strings.Contains(string(page), "Jan 1970") {
			t.Errorf("%s has no example or not the date of the build", name)
		}
	}
}

func TestManInTheWay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := command(t, "man", file); got.code != exitFailure || !strings.Contains(got.err, file) || strings.Count(got.err, "\n") != 1 {
		t.Errorf("%+v", got)
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := command(t, "completion", shell); got.code != exitOK || got.err != "" || !strings.Contains(got.out, "natrouter") {
			t.Errorf("%s: exit %d, %s", shell, got.code, got.err)
		}
	}
}

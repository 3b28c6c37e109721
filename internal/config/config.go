// Package config reads natrouter's configuration file: TOML in, a [router.Config] and what the program itself needs out.
// It is strict: an unknown key, a value out of range or two settings that contradict each other are errors, and all of
// them are reported at once, each as FILE:LINE: message with what to write instead. What a standard advises against is a
// warning that names the clause. config.toml.example documents every key.
//
// What it can't know isn't checked here: whether a device exists, belongs to us and can be opened, whether a user or a
// network namespace exists, and whether a socket can be bound. That is for the program, when it starts.
//
// No other package imports the TOML library.
package config

import (
	"log/slog"
	"os"

	"github.com/natrouter/natrouter/router"
)

// File is a configuration file that has been read and found right.
type File struct {
	Name          string // as given to Load or Parse
	Config        router.Config
	Control       string // [control] socket, an absolute path; "": the default of the place where the program runs
	MetricsListen string // [metrics] listen, "address:port"; "": none
	Log           LogConfig
	Process       ProcessConfig

	Warnings []Warning // by line
}

// LogConfig is [log]; its drops are in [router.Config].
type LogConfig struct {
	Level  slog.Level
	Format string // text or json
}

// ProcessConfig is [process].
type ProcessConfig struct {
	User string // name or number to drop to; "": stay
}

// Load reads a configuration file. Its errors are [Errors].
func Load(path string) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, Errors{{File: path, Message: unreadable(err)}}
	}
	return Parse(path, data)
}

func unreadable(err error) string {
	switch {
	case os.IsNotExist(err):
		return "no such file: give the path of a configuration; config.toml.example is one to start from"
	case os.IsPermission(err):
		return "permission denied: make it readable for this user"
	}
	return "can't be read: " + err.Error()
}

// Parse reads a configuration from memory; name stands for the file in messages. Its errors are [Errors].
func Parse(name string, data []byte) (*File, error) {
	b := builder{problems: &problems{file: name}, file: &File{Name: name}}
	d := decoder{problems: b.problems, schema: schema()}
	if root := d.decode(string(data)); root != nil {
		b.build(root)
	}
	b.sort()
	if len(b.errors) > 0 {
		return nil, b.errors
	}
	b.file.Warnings = b.warnings
	return b.file, nil
}

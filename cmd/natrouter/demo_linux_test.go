package main

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/natrouter/natrouter/internal/config"
)

// TestDemoConfigIsTheExample: who liked the demo finds its configuration in examples.
func TestDemoConfigIsTheExample(t *testing.T) {
	demo, err := config.Parse("demo", []byte(demoConfig))
	if err != nil {
		t.Fatal(err)
	}
	example, err := config.Load("../../examples/two-namespaces/natrouter.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*config.File{demo, example} {
		for _, w := range f.Warnings {
			t.Error(w)
		}
		for i := range f.Config.Interfaces {
			f.Config.Interfaces[i].Line = 0
		}
		for i := range f.Config.NAT {
			f.Config.NAT[i].Line = 0
		}
		for i := range f.Config.Routes {
			f.Config.Routes[i].Line = 0
		}
		for i := range f.Config.Helpers {
			f.Config.Helpers[i].Line = 0
		}
	}
	if !reflect.DeepEqual(demo.Config, example.Config) {
		t.Errorf("the demo's configuration\n%+v\nis not the example's\n%+v", demo.Config, example.Config)
	}
}

func TestProgressElsewhere(t *testing.T) {
	var out bytes.Buffer
	p := startProgress(&out, "ping  IPv4")
	p.say("%d of %d", 1, 2)
	p.end("2 of 2")
	if got, want := out.String(), "ping  IPv4  2 of 2\n"; got != want {
		t.Errorf("wrote %q to what is no terminal, want %q", got, want)
	}
}

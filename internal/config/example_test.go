package config

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

const examplePath = "../../config.toml.example"

// shownDefault is a line of the example that shows a key with its default.
var shownDefault = regexp.MustCompile(`(?m)^#([a-z0-9_]+ = )`)

// shownOption is a line of prose that shows a key which has no default to write down.
var shownOption = regexp.MustCompile(`^# ([a-z0-9_]+) = `)

func load(t *testing.T, path string) *File {
	t.Helper()
	f, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestExampleLoads(t *testing.T) {
	f := load(t, examplePath)
	for _, w := range f.Warnings {
		t.Errorf("the example should be without fault: %v", w)
	}
	if len(f.Config.Interfaces) != 2 || len(f.Config.NAT) != 2 || len(f.Config.Routes) != 4 {
		t.Errorf("got %+v", f.Config)
	}
}

// TestExampleDefaults takes the # from every key of the example that stands there with its default. The file must then say
// the same, so each default shown is the one in the code.
func TestExampleDefaults(t *testing.T) {
	data, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Parse(examplePath, shownDefault.ReplaceAll(data, []byte("$1")))
	if err != nil {
		t.Fatal(err)
	}
	if want := load(t, examplePath); !reflect.DeepEqual(f, want) {
		t.Errorf("with its defaults written out the example says\n%+v\nwithout\n%+v", f, want)
	}
}

// TestExampleHasEveryKey walks the schema.
func TestExampleHasEveryKey(t *testing.T) {
	data, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{} // path: text of the value; "?" for one that isn't a default
	section := ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "["):
			section, _, _ = strings.Cut(strings.Trim(line, "["), "]")
		case shownDefault.MatchString(line):
			name, v, _ := strings.Cut(line[1:], " = ")
			shown[join(section, name)] = v
		case shownOption.MatchString(line):
			shown[join(section, shownOption.FindStringSubmatch(line)[1])] = "?"
		case strings.Contains(line, " = ") && !strings.HasPrefix(line, "#"):
			name, _, _ := strings.Cut(line, " = ")
			shown[join(section, name)] = "?"
		}
	}
	walk(schema(), "", func(k *key, path string) {
		v, ok := shown[path]
		if strings.HasPrefix(path, "conntrack.policy.timeout.") || ok && k.required != "" {
			return
		}
		if !ok {
			t.Errorf("%s isn't in the example", path)
			return
		}
		if k.def == nil {
			return
		}
		var doc struct{ V any }
		if _, err := toml.Decode("V = "+v, &doc); err != nil {
			t.Errorf("%s: the example shows no default: %s", path, v)
			return
		}
		got := k.def
		if !k.leftOut(doc.V) {
			got, _ = k.read(&problems{}, k.name, doc.V, &mark{})
		}
		if got != k.def {
			t.Errorf("%s: the example shows %v, the default is %v", path, got, k.def)
		}
	})
}

// walk calls f for each key that isn't a table, those of helpers among them.
func walk(k *key, path string, f func(k *key, path string)) {
	keys := k.keys
	if k.more != nil {
		keys = append(keys[:len(keys):len(keys)], k.more(nil)...)
	}
	for i := range keys {
		sub := &keys[i]
		if sub.isTable() {
			walk(sub, join(path, sub.name), f)
		} else {
			f(sub, join(path, sub.name))
		}
	}
}

func TestTwoNamespacesLoads(t *testing.T) {
	f := load(t, "../../examples/two-namespaces/natrouter.toml")
	if len(f.Warnings) > 0 {
		t.Errorf("warnings %v", f.Warnings)
	}
	for _, i := range f.Config.Interfaces {
		if i.Device.NetNS == "" || len(i.Device.HostAddress) != 2 {
			t.Errorf("interface %s doesn't set up its host end: %+v", i.Name, i.Device)
		}
	}
}

// tomlBlock is a configuration in a Markdown page.
var tomlBlock = regexp.MustCompile("(?s)```(?:toml)?\n(.*?)```")

// TestGoodConfigurations: no false warning. All that the repository shows its readers is without fault.
func TestGoodConfigurations(t *testing.T) {
	shown := 0
	for _, path := range []string{examplePath, "../../examples/two-namespaces/natrouter.toml", "../../README.md"} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		blocks := []string{string(data)}
		if strings.HasSuffix(path, ".md") {
			blocks = nil
			for _, m := range tomlBlock.FindAllStringSubmatch(string(data), -1) {
				if strings.Contains(m[1], "[[interface]]") {
					blocks = append(blocks, m[1])
				}
			}
		}
		for _, text := range blocks {
			shown++
			f, err := Parse(path, []byte(text))
			if err != nil {
				t.Error(err)
				continue
			}
			for _, w := range f.Warnings {
				t.Errorf("%v", w)
			}
		}
	}
	if shown < 3 {
		t.Errorf("%d configurations, want at least 3", shown)
	}
}

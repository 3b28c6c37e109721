// Package house checks the rules of the house that no compiler knows: imports point down, rooms have a package
// comment, and the pure rooms stay pure. ARCHITECTURE.md lists the rooms.
package house

import (
	"encoding/json"
	"go/doc"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/natrouter/natrouter/"

// listed is what `go list -json` says of a package.
type listed struct {
	ImportPath, Dir string
	GoFiles         []string
	Imports, Deps   []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports,Deps", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// rooms lists the house from top to bottom: a room imports only rooms below it.
var rooms = []string{
	"cmd/natrouter", "integration/bench", "integration", "internal/netlab", "internal/config", "router/control",
	"router", "router/alg/pptp", "router/alg/ftp", "router/alg/tftp", "router/alg/irc", "router/alg", "router/nat",
	"router/conntrack", "router/fragment", "router/tun", "router/ruleset", "router/packet",
}

// TestImportsPointDown: a room imports only rooms below it in the list; unlisted ones (tools of the tests) import
// what they like but are imported by tests only.
func TestImportsPointDown(t *testing.T) {
	height := map[string]int{}
	for i, room := range rooms {
		height[module+room] = i + 1
	}
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			from, to := height[p.ImportPath], height[imported]
			switch {
			case from == 0:
			case strings.HasPrefix(imported, module) && to == 0:
				t.Errorf("%s imports %s, which is no room", p.ImportPath, imported)
			case to != 0 && to <= from:
				t.Errorf("%s imports %s, which is above it", p.ImportPath, imported)
			}
		}
	}
}

// pure are the rooms that somebody with another stack can use: bytes in, bytes out.
var pure = []string{"router/packet", "router/fragment", "router/conntrack", "router/nat", "router/alg", "router/ruleset"}

// forbidden is what they must not reach, nor through others.
var forbidden = []string{"gvisor.dev/", "github.com/songgao/", module + "router/tun", "net/http"}

func TestPureRooms(t *testing.T) {
	for _, p := range packages(t) {
		for _, room := range pure {
			if p.ImportPath != module+room && !strings.HasPrefix(p.ImportPath, module+room+"/") ||
				strings.Contains(p.ImportPath, "/internal/") {
				continue
			}
			for _, dep := range p.Deps {
				for _, f := range forbidden {
					if strings.HasPrefix(dep, f) {
						t.Errorf("%s reaches %s", p.ImportPath, dep)
					}
				}
			}
		}
	}
}

// only names the one importer of a library.
var only = map[string]string{
	"github.com/BurntSushi/toml": "internal/config",
	"github.com/songgao/water":   "router/tun",
}

func TestOneImporter(t *testing.T) {
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			if room := only[imported]; room != "" && p.ImportPath != module+room {
				t.Errorf("%s imports %s; only %s does", p.ImportPath, imported, room)
			}
		}
	}
}

// TestPackageComments: a room says what it is for.
func TestPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		found := len(p.GoFiles) == 0
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			found = found || len(new(doc.Package).Synopsis(f.Doc.Text())) > 20
		}
		if !found {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

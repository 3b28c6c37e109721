package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// dropChild is set in the process that TestDropPrivileges starts.
const dropChild = "NATROUTER_TEST_DROP"

// The drop can't be undone, so it happens in a process of its own, with many threads.
func TestDropPrivileges(t *testing.T) {
	if os.Getenv(dropChild) != "" {
		dropInChild(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED root: dropping privileges needs them")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestDropPrivileges$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), dropChild+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("dropped for good")) {
		t.Errorf("%v\n%s", err, out)
	}
}

func dropInChild(t *testing.T) {
	busy := make(chan struct{})
	for range 8 { // threads in system calls while the drop happens
		var pipe [2]int
		if err := syscall.Pipe(pipe[:]); err != nil {
			t.Fatal(err)
		}
		go func() {
			busy <- struct{}{}
			syscall.Read(pipe[0], make([]byte, 1))
		}()
		<-busy
	}
	a := &account{name: "test", uid: 65533, gid: 65532, groups: []int{65532, 65531, 9}}
	if err := dropPrivileges(a); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != a.uid || os.Getegid() != a.gid {
		t.Fatalf("user %d, group %d", os.Geteuid(), os.Getegid())
	}
	if err := syscall.Setuid(0); err == nil {
		t.Fatal("root again")
	}
	fmt.Println("dropped for good")
}

const droppedStatus = `Name:	natrouter
Uid:	1000	1000	1000	1000
Gid:	1000	1000	1000	1000
Groups:	9 27 1000 
CapPrm:	0000000000000000
CapEff:	0000000000000000
NoNewPrivs:	1
`

func TestVerifyThread(t *testing.T) {
	a := &account{uid: 1000, gid: 1000, groups: []int{1000, 27, 9, 27}}
	if err := verifyThread(a, droppedStatus); err != nil {
		t.Error(err)
	}
	for name, tt := range map[string]struct{ old, new string }{
		"a saved root":          {"Uid:\t1000\t1000\t1000", "Uid:\t1000\t1000\t0"},
		"root's group":          {"Gid:\t1000", "Gid:\t0"},
		"one group too many":    {"9 27 1000", "0 9 27 1000"},
		"one group too few":     {"9 27 1000", "9 27"},
		"a capability":          {"CapEff:\t0000000000000000", "CapEff:\t0000000000001000"},
		"permitted":             {"CapPrm:\t0000000000000000", "CapPrm:\t0000000000001000"},
		"new privileges":        {"NoNewPrivs:\t1", "NoNewPrivs:\t0"},
		"an old kernel":         {"NoNewPrivs:\t1\n", ""},
		"no line that is known": {droppedStatus, ""},
	} {
		if err := verifyThread(a, strings.Replace(droppedStatus, tt.old, tt.new, 1)); err == nil {
			t.Errorf("%s: verified", name)
		}
	}
}

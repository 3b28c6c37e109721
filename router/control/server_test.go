package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/natrouter/natrouter/router"
)

// fake is a Source with fixed answers. The pipeline behind the real one is tested in router.
type fake struct {
	status router.Status
	flows  func(router.FlowFilter) ([]router.Flow, error)
}

func (f *fake) Status() router.Status                            { return f.status }
func (f *fake) Flows(q router.FlowFilter) ([]router.Flow, error) { return f.flows(q) }
func port(n uint16) *uint16                                      { return &n }
func discard() *slog.Logger                                      { return slog.New(slog.DiscardHandler) }
func fixed(flows ...router.Flow) func(router.FlowFilter) ([]router.Flow, error) {
	return func(router.FlowFilter) ([]router.Flow, error) { return append([]router.Flow(nil), flows...), nil }
}

func flow(id uint64) router.Flow {
	return router.Flow{
		ID: id, Proto: "tcp", State: "ESTABLISHED", Status: []string{"seen-reply", "assured", "snat"}, Timeout: 7200, Age: 1.5,
		Original: router.FlowTuple{Source: "10.77.1.2", Destination: "192.0.2.1", SourcePort: port(40000), DestinationPort: port(80), Packets: 3, Bytes: 180},
		Reply:    router.FlowTuple{Source: "192.0.2.1", Destination: "203.0.113.1", SourcePort: port(80), DestinationPort: port(40000), Packets: 2, Bytes: 120},
	}
}

// serve answers from source on a socket of its own until the test ends.
func serve(t *testing.T, source Source) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- NewServer(source, discard()).Serve(ctx, l) }()
	client := NewClient(path)
	t.Cleanup(func() {
		client.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v after its context ended, want nil", err)
		}
	})
	return client
}

func collect(c *Client, f router.FlowFilter) (flows []router.Flow, err error) {
	for flow, err := range c.Flows(context.Background(), f) {
		if err != nil {
			return flows, err
		}
		flows = append(flows, flow)
	}
	return flows, nil
}

func TestStatus(t *testing.T) {
	want := router.Status{
		Uptime: 12.5, Flows: 3, FlowsMax: 100, Mappings: 2,
		Interfaces: []router.InterfaceStatus{{Name: "lan0", Side: "inside", Driver: "memory", MTU: 1500, Addresses: []string{"10.77.0.1/24"}, PacketsIn: 1, BytesIn: 2, PacketsOut: 3, BytesOut: 4}},
		Drops:      map[string]uint64{"no-mapping": 4, "malformed": 0},
	}
	got, err := serve(t, &fake{status: want}).Status(context.Background())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Status = %+v, %v\nwant %+v", got, err, want)
	}
}

func TestFlows(t *testing.T) {
	var asked router.FlowFilter
	client := serve(t, &fake{flows: func(f router.FlowFilter) ([]router.Flow, error) {
		asked = f
		return []router.Flow{flow(9), flow(2), flow(5)}, nil
	}})
	filter := router.FlowFilter{Proto: "tcp", Source: "10.0.0.0/8", Destination: "192.0.2.1", Port: 80, State: "ESTABLISHED", Limit: 3}
	got, err := collect(client, filter)
	if err != nil || !reflect.DeepEqual(got, []router.Flow{flow(2), flow(5), flow(9)}) {
		t.Errorf("Flows = %+v, %v", got, err)
	}
	if asked != filter {
		t.Errorf("the source was asked for %+v, want %+v", asked, filter)
	}
}

func TestFlowsNone(t *testing.T) {
	if got, err := collect(serve(t, &fake{flows: fixed()}), router.FlowFilter{}); err != nil || got != nil {
		t.Errorf("Flows = %v, %v, want none", got, err)
	}
}

func TestFlowsManyAtOnce(t *testing.T) {
	const n, readers = 5000, 3
	many := make([]router.Flow, n)
	for i := range many {
		many[i] = flow(uint64(i))
	}
	client := serve(t, &fake{flows: fixed(many...)})
	var wait sync.WaitGroup
	for range readers {
		wait.Go(func() {
			if got, err := collect(client, router.FlowFilter{}); err != nil || len(got) != n {
				t.Errorf("%d flows, %v, want %d", len(got), err, n)
			}
		})
	}
	wait.Wait()
}

// Readers that stop to look, as a pager does, hold up neither the router nor each other: more of them than there may be
// lists at once. What they have read is in files meanwhile, and none is left.
func TestFlowsReadSlowly(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	const n = 20_000 // more than a socket holds
	many := make([]router.Flow, n)
	for i := range many {
		many[i] = flow(uint64(i + 1))
	}
	client := serve(t, &fake{flows: fixed(many...)})
	var readers []func() (router.Flow, error, bool)
	for range maxLists + 1 {
		next, stop := iter.Pull2(client.Flows(context.Background(), router.FlowFilter{}))
		defer stop()
		if _, err, ok := next(); err != nil || !ok {
			t.Fatalf("reader %d: %v", len(readers), err)
		}
		readers = append(readers, next)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != len(readers) {
		t.Errorf("%d files, %v", len(files), err)
	}
	for _, next := range readers {
		for want := uint64(2); ; want++ {
			f, err, ok := next()
			if !ok && want == n+1 {
				break
			}
			if err != nil || f.ID != want {
				t.Fatalf("flow %d, %v, want %d", f.ID, err, want)
			}
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("%d files are left, %v", len(files), err)
	}
	t.Setenv("TMPDIR", filepath.Join(dir, "none")) // without room for files, as it arrives
	if got, err := collect(client, router.FlowFilter{}); err != nil || len(got) != n {
		t.Errorf("%d flows, %v, want %d", len(got), err, n)
	}
}

// A reader that stops early frees the list for others.
func TestFlowsStoppedEarly(t *testing.T) {
	client := serve(t, &fake{flows: fixed(flow(1), flow(2))})
	for range 3 * maxLists {
		for _, err := range client.Flows(context.Background(), router.FlowFilter{}) {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
	}
}

func TestErrorsOfTheSource(t *testing.T) {
	client := serve(t, &fake{flows: func(router.FlowFilter) ([]router.Flow, error) {
		return nil, errors.New(`state "OPEN": no such state`)
	}})
	_, err := collect(client, router.FlowFilter{State: "OPEN"})
	var answer *Error
	if !errors.As(err, &answer) || answer.Code != CodeBadRequest || !strings.Contains(err.Error(), "no such state") {
		t.Errorf("Flows = %v", err)
	}
}

func TestRequestsRefused(t *testing.T) {
	server := NewServer(&fake{flows: fixed()}, discard())
	for name, tt := range map[string]struct {
		method, target string
		status         int
		code           string
	}{
		"unknown resource":       {"GET", "/v1/nothing", 404, CodeNotFound},
		"root":                   {"GET", "/", 404, CodeNotFound},
		"method":                 {"DELETE", "/v1/flows", 405, CodeMethod},
		"post":                   {"POST", "/v1/status", 405, CodeMethod},
		"parameter of status":    {"GET", "/v1/status?all=1", 400, CodeBadRequest},
		"unknown filter":         {"GET", "/v1/flows?proto=tcp", 400, CodeBadRequest},
		"malformed filter":       {"GET", "/v1/flows?port=x", 400, CodeBadRequest},
		"malformed query string": {"GET", "/v1/flows?port=%zz", 400, CodeBadRequest},
	} {
		w := httptest.NewRecorder()
		server.Handler().ServeHTTP(w, httptest.NewRequest(tt.method, tt.target, nil))
		var answer errorAnswer
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Error == nil {
			t.Errorf("%s: answer %q is no error: %v", name, w.Body, err)
			continue
		}
		if w.Code != tt.status || answer.Error.Code != tt.code || answer.Error.Message == "" {
			t.Errorf("%s: %d %+v, want %d %s", name, w.Code, answer.Error, tt.status, tt.code)
		}
		if got := w.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: content type %q", name, got)
		}
	}
}

func TestTooManyLists(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	server := NewServer(&fake{flows: func(router.FlowFilter) ([]router.Flow, error) {
		entered <- struct{}{}
		<-release
		return nil, nil
	}}, discard())
	ask := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		server.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/v1/flows", nil))
		return w
	}
	var wait sync.WaitGroup
	for range maxLists {
		wait.Go(func() { ask() })
		<-entered
	}
	if w := ask(); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), CodeBusy) {
		t.Errorf("one list too many: %d %s", w.Code, w.Body)
	}
	close(release)
	wait.Wait()
}

func TestNotReachable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	_, err := NewClient(path).Status(context.Background())
	if !errors.Is(err, ErrNotReachable) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "http") {
		t.Errorf("Status = %v", err)
	}
	if _, err := collect(NewClient(path), router.FlowFilter{}); !errors.Is(err, ErrNotReachable) {
		t.Errorf("Flows = %v", err)
	}
}

// strange answers every connection with the same bytes, then hangs up.
func strange(t *testing.T, answer string) *Client {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 4096)
			c.Read(buf) // the request; whatever it is
			io.WriteString(c, answer)
			c.Close()
		}
	}()
	return NewClient(path)
}

func TestStrangeAnswers(t *testing.T) {
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	line := `{"id":1}` + "\n"
	chunk := fmt.Sprintf("%x\r\n%s\r\n", len(line), line)
	for name, tt := range map[string]struct{ answer, want string }{
		"no HTTP":             {"SSH-2.0\r\n", "control: "},
		"nothing":             {"", "EOF"},
		"another's error":     {"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nhi", "another program's socket"},
		"no JSON":             {chunked + "3\r\nfoo\r\n0\r\n\r\n", "no JSON of ours"},
		"list cut short":      {chunked + chunk, "cut short"},
		"flow cut short":      {chunked + chunk + "7\r\n{\"id\":2\r\n", "cut short"},
		"line without an end": {chunked + fmt.Sprintf("%x\r\n%s", maxLine+10, strings.Repeat(" ", maxLine+10)), "cut short"},
	} {
		if _, err := collect(strange(t, tt.answer), router.FlowFilter{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Flows = %v, want %q", name, err, tt.want)
		}
	}
	huge := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", maxAnswer+1, strings.Repeat(" ", maxAnswer+1))
	if _, err := strange(t, huge).Status(context.Background()); err == nil || !strings.Contains(err.Error(), "above") {
		t.Errorf("huge status: %v", err)
	}
}

// brokenWriter fails after its header, as a client that went away.
type brokenWriter struct{ http.ResponseWriter }

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// A list that can't be finished must not look like a whole one: the connection is aborted.
func TestListAborted(t *testing.T) {
	server := NewServer(&fake{flows: fixed(flow(1))}, discard())
	defer func() {
		if got := recover(); got != http.ErrAbortHandler {
			t.Errorf("recovered %v, want http.ErrAbortHandler", got)
		}
	}()
	server.Handler().ServeHTTP(brokenWriter{httptest.NewRecorder()}, httptest.NewRequest("GET", "/v1/flows", nil))
}

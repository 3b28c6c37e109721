package control

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/natrouter/natrouter/router"
)

// Source is the running router, as the control socket shows it. Its methods may be called at once. *router.Router
// is one.
type Source interface {
	Status() router.Status
	Flows(router.FlowFilter) ([]router.Flow, error)
}

const (
	headerTimeout = 5 * time.Second  // for a request's header
	writeTimeout  = 10 * time.Second // for each piece of an answer: a client that reads on may take as long as it likes
	idleTimeout   = time.Minute      // for a connection between requests
	maxHeader     = 16 << 10         // bytes
	maxLists      = 4                // flow lists made at once: each holds its flows in memory
	flushFlows    = 256              // flows written between two looks at the clock
	stopTimeout   = 500 * time.Millisecond
)

// The values of Error.Code.
const (
	CodeBadRequest = "bad-request" // the query is wrong; the message names the parameter
	CodeNotFound   = "not-found"   // no such resource
	CodeMethod     = "method"      // only GET is known here
	CodeBusy       = "busy"        // too many lists at once; ask again
	CodeInternal   = "internal"    // a defect of the router
)

// Server answers on the control socket.
type Server struct {
	source Source
	log    *slog.Logger
	lists  chan struct{} // a token for each list being made
}

// NewServer returns a server of what source says. It answers nothing before [Server.Serve].
func NewServer(source Source, log *slog.Logger) *Server {
	return &Server{source: source, log: log, lists: make(chan struct{}, maxLists)}
}

// Serve answers on l until ctx ends, then closes l, gives answers that are under way half a second, and returns nil.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout, // no request has a body
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	stopped := make(chan struct{})
	defer context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
	})()
	err := server.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		<-stopped
		return nil
	}
	return err
}

// Handler is the API without its socket.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/status", s.guard(s.status))
	mux.HandleFunc("/v1/flows", s.guard(s.flows))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, http.StatusNotFound, CodeNotFound, "no "+r.URL.Path+" here; there are /v1/status and /v1/flows")
	})
	return mux
}

// guard refuses methods that a resource doesn't know. (What panics below ends one connection, not the router.)
func (s *Server) guard(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			s.fail(w, http.StatusMethodNotAllowed, CodeMethod, r.Method+" is not known here; use GET")
			return
		}
		next(w, r)
	}
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	if r.URL.RawQuery != "" {
		s.fail(w, http.StatusBadRequest, CodeBadRequest, "status takes no parameters")
		return
	}
	s.deadline(w)
	s.json(w, http.StatusOK, s.source.Status())
}

func (s *Server) flows(w http.ResponseWriter, r *http.Request) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		s.fail(w, http.StatusBadRequest, CodeBadRequest, err.Error())
		return
	}
	filter, err := ParseFilter(values)
	if err != nil {
		s.fail(w, http.StatusBadRequest, CodeBadRequest, err.Error())
		return
	}
	select {
	case s.lists <- struct{}{}:
		defer func() { <-s.lists }()
	default:
		s.fail(w, http.StatusServiceUnavailable, CodeBusy, "too many lists are being made: ask again")
		return
	}
	flows, err := s.source.Flows(filter)
	if err != nil { // the filter is all that it can object to
		s.fail(w, http.StatusBadRequest, CodeBadRequest, err.Error())
		return
	}
	slices.SortFunc(flows, func(a, b router.Flow) int { return cmp.Compare(a.ID, b.ID) })
	w.Header().Set("Content-Type", "application/x-ndjson")
	if err := s.stream(w, flows); err != nil {
		s.log.Debug("control: flow list cut short", "error", err)
		panic(http.ErrAbortHandler) // so that the client sees a list without end, not a short one
	}
}

// stream writes a flow a line, through one small buffer, with a new deadline for each piece.
func (s *Server) stream(w http.ResponseWriter, flows []router.Flow) error {
	out := bufio.NewWriterSize(w, 32<<10)
	encoder := json.NewEncoder(out)
	for i := range flows {
		if i%flushFlows == 0 {
			s.deadline(w)
		}
		if err := encoder.Encode(&flows[i]); err != nil {
			return err
		}
	}
	return out.Flush()
}

// deadline gives the next piece of an answer its time. A writer without deadlines (a test's) needs none.
func (s *Server) deadline(w http.ResponseWriter) {
	err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		s.log.Debug("control: set write deadline", "error", err)
	}
}

// Error is what the API answers instead of a result: {"error": {"code": …, "message": …}}.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Error returns the message, which is written for people.
func (e *Error) Error() string { return e.Message }

type errorAnswer struct {
	Error *Error `json:"error"`
}

func (s *Server) fail(w http.ResponseWriter, status int, code, message string) {
	s.deadline(w)
	s.json(w, status, errorAnswer{&Error{Code: code, Message: message}})
}

func (s *Server) json(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		s.log.Error("control: encode answer", "error", err)
		status, body = http.StatusInternalServerError, []byte(`{"error":{"code":"`+CodeInternal+`","message":"the answer can't be encoded"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if _, err := w.Write(append(body, '\n')); err != nil {
		s.log.Debug("control: write answer", "error", err)
	}
}

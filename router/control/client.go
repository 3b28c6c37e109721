package control

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/natrouter/natrouter/router"
)

const (
	dialTimeout = 3 * time.Second
	readTimeout = 15 * time.Second // between two pieces of an answer
	maxAnswer   = 4 << 20          // bytes of an answer that is one object
	maxLine     = 64 << 10         // bytes of one flow of a list
	maxInMemory = 4 << 20          // bytes of a list; what is longer goes into a file
)

// ErrNotReachable says that no router answers on the socket. The error that wraps it names the socket and the cause.
var ErrNotReachable = errors.New("no router answers")

// Client asks a running router. It may be used by several goroutines at once.
type Client struct {
	http http.Client
}

// NewClient returns a client of the router whose control socket is at path. It connects when it is first asked.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		dialer := net.Dialer{Timeout: dialTimeout}
		c, err := dialer.DialContext(ctx, "unix", path)
		if err != nil {
			return nil, fmt.Errorf("%w on %s: %w", ErrNotReachable, path, cause(err))
		}
		return &patientConn{Conn: c}, nil
	}
	return &Client{http: http.Client{Transport: &http.Transport{
		DialContext:        dial,
		DisableCompression: true,
		MaxIdleConns:       1,
		IdleConnTimeout:    idleTimeout,
	}}}
}

// Close ends the connections that the client keeps. It may be used again afterwards.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status returns the router's numbers.
func (c *Client) Status(ctx context.Context) (router.Status, error) {
	var status router.Status
	body, err := c.get(ctx, "/v1/status", nil)
	if err != nil {
		return status, err
	}
	defer body.Close()
	b, err := readLimited(body)
	if err != nil {
		return status, err
	}
	if err := json.Unmarshal(b, &status); err != nil {
		return router.Status{}, fmt.Errorf("control: status is no JSON of ours: %w", err)
	}
	return status, nil
}

// Flows returns the flows that match f, by rising ID. The router's answer is read to its end first, into a temporary file where
// it is long: the router waits for nobody who stops to look at what he has. After an error there is no further flow; a list that
// was cut short ends with an error.
func (c *Client) Flows(ctx context.Context, f router.FlowFilter) iter.Seq2[router.Flow, error] {
	return func(yield func(router.Flow, error) bool) {
		body, err := c.get(ctx, "/v1/flows", query(f))
		if err != nil {
			yield(router.Flow{}, err)
			return
		}
		defer body.Close()
		list, forget, cut := spool(body)
		defer forget()
		lines := bufio.NewScanner(list)
		lines.Buffer(nil, maxLine)
		for lines.Scan() {
			var flow router.Flow
			if err := json.Unmarshal(lines.Bytes(), &flow); err != nil {
				if cut == nil {
					yield(router.Flow{}, fmt.Errorf("control: flow is no JSON of ours: %w", err))
					return
				}
				break
			}
			if !yield(flow, nil) {
				return
			}
		}
		if cut = cmp.Or(cut, lines.Err()); cut != nil {
			yield(router.Flow{}, fmt.Errorf("control: flow list cut short: %w", cut))
		}
	}
}

// spool reads an answer to its end, or to where err cut it short. The caller calls forget when it has read it again.
func spool(body io.Reader) (answer io.Reader, forget func(), err error) {
	var start bytes.Buffer
	forget = func() {}
	if _, err = io.CopyN(&start, body, maxInMemory); err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return &start, forget, err
	}
	file, err := os.CreateTemp("", "natrouter-flows-*")
	if err != nil {
		return io.MultiReader(&start, body), forget, nil // then as it arrives
	}
	forget = func() {
		file.Close()
		os.Remove(file.Name())
	}
	if _, err = io.Copy(file, body); err == nil {
		_, err = file.Seek(0, io.SeekStart)
	} else if _, again := file.Seek(0, io.SeekStart); again != nil {
		err = again
	}
	return io.MultiReader(&start, file), forget, err
}

// get returns the body of a good answer; any other answer is an [Error].
func (c *Client) get(ctx context.Context, path string, q url.Values) (io.ReadCloser, error) {
	u := url.URL{Scheme: "http", Host: "natrouter", Path: path, RawQuery: q.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		var wrapped *url.Error // "Get http://natrouter/v1/status" says nothing to people
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, fmt.Errorf("control: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	b, err := readLimited(response.Body)
	var answer errorAnswer
	if err != nil || json.Unmarshal(b, &answer) != nil || answer.Error == nil {
		return nil, fmt.Errorf("control: the answer is %q and no router's: is it another program's socket?", response.Status)
	}
	return nil, fmt.Errorf("control: %w", answer.Error)
}

func readLimited(r io.Reader) ([]byte, error) {
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(r, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("control: read answer: %w", err)
	case n > maxAnswer:
		return nil, fmt.Errorf("control: answer above %d bytes", maxAnswer)
	}
	return b.Bytes(), nil
}

// patientConn gives up when the other side says nothing for readTimeout, however long the whole answer takes.
type patientConn struct {
	net.Conn
}

// Read reads with a deadline of its own.
func (c *patientConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(readTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

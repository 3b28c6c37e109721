//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// report is everything a run found out; its JSON is what -json writes.
type report struct {
	Machine machine       `json:"machine"`
	Began   time.Time     `json:"began"`
	Rounds  int           `json:"rounds"`
	Window  float64       `json:"window_seconds"`
	TCP     string        `json:"congestion_control"`
	Systems []systemInfo  `json:"systems"`
	Figures []*figure     `json:"figures"`
	Ratios  []ratio       `json:"ratios"`
	Micro   []microResult `json:"micro,omitempty"`
}

// machine is what the figures depend on most.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
}

// systemInfo is a system under test in the report.
type systemInfo struct {
	Name   string `json:"name"`
	Error  string `json:"error,omitempty"` // why it was not measured
	RSS    int64  `json:"rss_bytes,omitempty"`
	Peak   int64  `json:"peak_rss_bytes,omitempty"`
	kernel bool
}

// figure is a row of the table: what every system did.
type figure struct {
	row
	Results map[string]*result `json:"results,omitempty"` // by system
}

// result is what one system did in one row, round by round; a round that failed has its error and a zero sample.
type result struct {
	Spread  spread   `json:"spread"`
	Samples []sample `json:"samples"`
	Errors  []string `json:"errors"` // of each round, empty: none
}

func newReport(o *options) *report {
	return &report{Machine: thisMachine(), Began: time.Now().UTC().Truncate(time.Second), Rounds: o.rounds, Window: o.window.Seconds(), TCP: o.tcp}
}

func thisMachine() machine {
	m := machine{CPU: "unknown", Cores: runtime.NumCPU(), Kernel: "unknown", Go: runtime.Version()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	b, _ := os.ReadFile("/proc/cpuinfo") // without it the model stays unknown
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	return m
}

func (r *report) addSystems(all []*system) {
	for _, s := range all {
		info := systemInfo{Name: s.name, kernel: s.process == nil}
		if s.err != nil {
			info.Error = firstLine(s.err.Error())
		}
		r.Systems = append(r.Systems, info)
	}
}

// addMemory notes what the systems hold at the end.
func (r *report) addMemory(all []*system) {
	for i, s := range all {
		if now, peak, err := s.rss(); err == nil {
			r.Systems[i].RSS, r.Systems[i].Peak = now, peak
		}
	}
}

// add notes what a system did in a round of a workload: a sample for each row, or an error.
func (r *report) add(w *workload, s *system, round int, samples []sample, err error) {
	if err == nil && len(samples) != len(w.rows) {
		err = errors.New("samples without rows")
	}
	for i, row := range w.rows {
		res := r.result(row, s.name)
		for len(res.Samples) <= round {
			res.Samples, res.Errors = append(res.Samples, sample{}), append(res.Errors, "not measured")
		}
		if err != nil {
			res.Errors[round] = firstLine(err.Error())
			continue
		}
		res.Samples[round], res.Errors[round] = samples[i], ""
		res.Spread = newSpread(present(res.values()))
	}
}

// result finds or makes the place of a system in a row.
func (r *report) result(row row, system string) *result {
	f := r.figure(row.Name)
	if f == nil {
		f = &figure{row: row, Results: map[string]*result{}}
		r.Figures = append(r.Figures, f)
	}
	if f.Results[system] == nil {
		f.Results[system] = &result{}
	}
	return f.Results[system]
}

// figure finds a row by name, nil if nothing was measured in it.
func (r *report) figure(name string) *figure {
	for _, f := range r.Figures {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// values are the figures of all rounds, NaN for one that failed.
func (r *result) values() []float64 {
	v := make([]float64, len(r.Samples))
	for i := range v {
		v[i] = r.Samples[i].Value
		if r.Errors[i] != "" {
			v[i] = math.NaN()
		}
	}
	return v
}

func present(v []float64) []float64 {
	var kept []float64
	for _, x := range v {
		if !math.IsNaN(x) {
			kept = append(kept, x)
		}
	}
	return kept
}

// failure is the first error of a result, empty if there was none.
func (r *result) failure() string {
	for _, e := range r.Errors {
		if e != "" {
			return e
		}
	}
	return ""
}

func (r *report) writeJSON(path string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

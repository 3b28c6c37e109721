package control

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/natrouter/natrouter/router"
)

// The parameters of /v1/flows, each at most once. They are also the names of the flags of flow list.
const (
	paramProto       = "protocol"
	paramSource      = "source"
	paramDestination = "destination"
	paramPort        = "port"
	paramState       = "state"
	paramLimit       = "limit"
)

// ParseFilter reads the query of /v1/flows. An unknown, repeated, empty or malformed parameter, and a protocol or state that
// there is not, is an error that names it: a filter that was misread would list, and later delete, what nobody meant.
func ParseFilter(q url.Values) (router.FlowFilter, error) {
	var f router.FlowFilter
	for name, values := range q {
		if len(values) != 1 || values[0] == "" {
			return router.FlowFilter{}, fmt.Errorf("%s: give it once, with a value", name)
		}
		if err := setParam(&f, name, values[0]); err != nil {
			return router.FlowFilter{}, err
		}
	}
	if err := f.Check(); err != nil {
		return router.FlowFilter{}, err
	}
	return f, nil
}

func setParam(f *router.FlowFilter, name, value string) error {
	switch name {
	case paramProto:
		f.Proto = strings.ToLower(value)
	case paramSource:
		f.Source = value
	case paramDestination:
		f.Destination = value
	case paramPort:
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("%s %q: a number from 1 to 65535", name, value)
		}
		f.Port = uint16(n)
	case paramState:
		f.State = value
	case paramLimit:
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil || n == 0 {
			return fmt.Errorf("%s %q: a number of flows, from 1", name, value)
		}
		f.Limit = int(n)
	default:
		return fmt.Errorf("%s: no such parameter; there are %s, %s, %s, %s, %s and %s", name,
			paramProto, paramSource, paramDestination, paramPort, paramState, paramLimit)
	}
	return nil
}

// query is the inverse of ParseFilter.
func query(f router.FlowFilter) url.Values {
	q := url.Values{}
	for name, value := range map[string]string{
		paramProto:       f.Proto,
		paramSource:      f.Source,
		paramDestination: f.Destination,
		paramState:       f.State,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.Port != 0 {
		q.Set(paramPort, strconv.Itoa(int(f.Port)))
	}
	if f.Limit != 0 {
		q.Set(paramLimit, strconv.Itoa(f.Limit))
	}
	return q
}

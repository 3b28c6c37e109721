package nat

import (
	"errors"
	"fmt"
)

// RuleError is what is wrong with a rule. [New] joins as many as it finds; take them apart with the Unwrap method
// of [errors.Join].
type RuleError struct {
	Line  int // of the rule in the configuration file, 0: unknown
	Other int // of the rule or interface that it clashes with, 0: none
	Msg   string
}

func (e *RuleError) Error() string {
	if e.Other != 0 {
		return fmt.Sprintf("line %d: %s (line %d)", e.Line, e.Msg, e.Other)
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Msg)
}

// checker collects errors.
type checker struct {
	cfg  *Config
	errs []error
}

func (k *checker) fail(line, other int, format string, args ...any) {
	k.errs = append(k.errs, &RuleError{Line: line, Other: other, Msg: fmt.Sprintf(format, args...)})
}

func (k *checker) err() error { return errors.Join(k.errs...) }

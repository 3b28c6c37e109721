package nat

import "github.com/natrouter/natrouter/router/ruleset"

// checker collects what is wrong with rules.
type checker struct {
	cfg *Config
	ruleset.Problems
	steps int // of finding clashes, for tests
}

// none is no place.
var none ruleset.Place

// at is the place of a rule's key.
func at(rule int, key string) ruleset.Place { return ruleset.Key("nat", rule, key) }

// mistake adds what makes a rule unusable.
func (k *checker) mistake(rule int, key, remedy, format string, args ...any) {
	k.Mistakef(at(rule, key), none, remedy, format, args...)
}

// Package moniker stands in for the generator of random release names that Helm 2 imports and that can no longer be had.
// The tests name their releases themselves, so nothing of it is ever asked.
package moniker

// Namer makes names for releases that were given none.
type Namer interface {
	Name() string
	NameSep(sep string) string
}

type fixed struct{}

func (fixed) Name() string              { return "unnamed release" }
func (fixed) NameSep(sep string) string { return "unnamed" + sep + "release" }

// New returns the only Namer there is.
func New() Namer { return fixed{} }

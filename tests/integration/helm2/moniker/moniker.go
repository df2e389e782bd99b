package moniker

type Namer interface {
	Name() string
	NameSep(sep string) string
}

type fixed struct{}

func (fixed) Name() string              { return "unnamed release" }
func (fixed) NameSep(sep string) string { return "unnamed" + sep + "release" }

func New() Namer { return fixed{} }

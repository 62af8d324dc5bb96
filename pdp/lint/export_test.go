package lint

// Code is a row of the table of codes, for tests.
type Code struct {
	Name, Title string
	Severity    Severity
	Excusable   bool
}

// Codes is the table of codes.
func Codes() []Code {
	all := make([]Code, len(codes))
	for i, c := range codes {
		all[i] = Code{c.name, c.title, c.severity, c.from == fromCheck}
	}
	return all
}

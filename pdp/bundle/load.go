package bundle

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/bundle/format/ratelimits"
	"github.com/durward-pdp/durward/pdp/bundle/format/suite"
)

// The format that this version reads.
const (
	formatMajor = 1
	formatMinor = 0
)

var (
	namePattern     = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	pathPattern     = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99})*$`)
	requiresPattern = regexp.MustCompile(`^([1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})$`)
)

// leftover matches what editors and patches leave behind. It is refused like every other unknown file, but says more.
var leftover = regexp.MustCompile(`(~|#|\.(bak|new|old|orig|rej|save|swo|swp|tmp))$|(^|/)4913$`)

const nameRule = "a name is 1 to 63 lower-case letters, digits and hyphens, and begins with a letter or digit"

// parse decodes a bundle's files and refuses keys, values and files that this version does not know or enforce. The
// bundle is nil when there is no bundle.yaml at all. Services in stock are decoded already.
func parse(files *format.Files, stock *stock) (*format.Bundle, format.Problems) {
	problems := checkPlaces(files)
	main, ok := files.Get("", "bundle.yaml")
	if !ok {
		return nil, append(problems, format.Problem{Position: format.Position{File: "bundle.yaml"}, Message: "a bundle needs this file"})
	}
	b := &format.Bundle{Files: files, File: main}
	decoded := format.Decode(main, b)
	problems = append(problems, decoded...)
	if newer := checkVersion(b); len(newer) > 0 {
		// What else is wrong is wrong only for this version.
		return b, newer
	}
	if len(decoded) == 0 {
		problems = append(problems, checkKeys(main, bundleKeys)...)
	}
	for _, name := range files.Paths() {
		directory, file := path.Split(name)
		if file != "service.yaml" || placeOf(name) != yamlPlace {
			continue
		}
		s := &format.Service{Dir: path.Clean(directory)}
		if old := stock.find(s.Dir); old != nil {
			*s = old.source
			s.File, _ = files.Get("", name)
			b.Services = append(b.Services, s)
			continue
		}
		s.File, _ = files.Get("", name)
		decoded := format.Decode(s.File, s)
		if len(decoded) == 0 {
			decoded = checkKeys(s.File, serviceKeys)
		}
		problems = append(problems, decoded...)
		b.Services = append(b.Services, s)
	}
	return b, problems
}

// checkPlaces refuses files that the format does not know, so that none is ignored.
func checkPlaces(files *format.Files) format.Problems {
	var problems format.Problems
	whole := func(name, message string) {
		problem := format.Problem{Position: format.Position{File: name}, Message: message}
		if leftover.MatchString(strings.Trim(name, `"`)) {
			problem.Hint = "an editor's copy? remove it"
		}
		problems = append(problems, problem)
	}
	services := map[string]bool{}
	for _, name := range files.Paths() {
		if !pathPattern.MatchString(name) {
			whole(strconv.QuoteToASCII(name), "a path in a bundle is made of letters, digits, dots, hyphens and underscores")
			continue
		}
		if part := strings.Split(name, "/"); part[0] == "services" && len(part) > 2 {
			services[part[1]] = services[part[1]] || part[2] == "service.yaml"
		}
		switch placeOf(name) {
		case laterPlace:
			whole(name, "this file is part of the format, but this version does not enforce it; remove it")
		case unknownPlace:
			whole(name, "this version does not know such a file at this place")
		case referredPlace, testPlace:
			file, _ := files.Get("", name)
			problems = append(problems, file.CheckText()...)
		case suitePlace:
			// What the tests mean is their runner's business; a server only keeps typos out.
			file, _ := files.Get("", name)
			problems = append(problems, format.Decode(file, new(suite.Suite))...)
		case domainPlace:
			file, _ := files.Get("", name)
			problems = append(problems, format.Decode(file, new(ratelimits.File))...)
		case yamlPlace: // decoded later, which checks the text too
		}
	}
	for service, complete := range services {
		if !complete {
			whole("services/"+service, "a service needs a service.yaml here")
		}
	}
	return problems
}

// checkVersion refuses a bundle that needs a later format than this version reads.
func checkVersion(b *format.Bundle) format.Problems {
	var problems format.Problems
	if b.Format > formatMajor {
		problems = append(problems, b.File.Problem("$.format", fmt.Sprintf("the bundle is in format %d; this server reads format %d", b.Format, formatMajor)))
	}
	parts := requiresPattern.FindStringSubmatch(b.Requires)
	if parts == nil {
		return problems
	}
	major, _ := strconv.Atoi(parts[1])
	minor, _ := strconv.Atoi(parts[2])
	if major > formatMajor || major == formatMajor && minor > formatMinor {
		problems = append(problems, b.File.Problem("$.requires",
			fmt.Sprintf("the bundle needs format %s; this server reads up to %d.%d", b.Requires, formatMajor, formatMinor)))
	}
	return problems
}

// maxProblems bounds what is reported of one bundle: nobody reads more, and a log line has to hold it.
const maxProblems = 200

// tidy sorts the problems, drops repetitions, which several compilers may report, and what is beyond the bound.
func tidy(problems format.Problems) format.Problems {
	slices.SortStableFunc(problems, func(a, b format.Problem) int {
		return cmpPosition(a.Position, b.Position)
	})
	problems = slices.CompactFunc(problems, func(a, b format.Problem) bool {
		return a.Position == b.Position && a.Message == b.Message
	})
	if more := len(problems) - maxProblems; more > 0 {
		problems = append(problems[:maxProblems:maxProblems], format.Problem{Message: fmt.Sprintf("and %d more", more)})
	}
	return problems
}

func cmpPosition(a, b format.Position) int {
	if c := strings.Compare(a.File, b.File); c != 0 {
		return c
	}
	if a.Line != b.Line {
		return a.Line - b.Line
	}
	return a.Column - b.Column
}

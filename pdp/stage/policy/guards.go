package policy

import (
	"fmt"
	"slices"
	"sync"
	"weak"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// guardCache keeps the guards of the revisions that there are: they are the same for all services of one.
type guardCache struct {
	mutex sync.Mutex
	// of are the guards by the bundle.yaml that they were compiled from. It is not kept for their sake: a server has several
	// bundles, and each knows itself which of its revisions it still needs.
	of map[weak.Pointer[format.File]]guardSet
}

// guardSet is what was compiled of the guards of one revision.
type guardSet struct {
	guards   []*compiled
	problems format.Problems
}

// compile compiles the guards of a bundle, once for each time that its file is read.
func (c *guardCache) compile(b *format.Bundle) ([]*compiled, format.Problems) {
	if len(b.Guards) == 0 {
		return nil, nil
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	key := weak.Make(b.File)
	set, found := c.of[key]
	if !found || b.File == nil {
		set = compileGuards(b)
		for old := range c.of {
			if old.Value() == nil {
				delete(c.of, old)
			}
		}
		if c.of == nil {
			c.of = map[weak.Pointer[format.File]]guardSet{}
		}
		c.of[key] = set
	}
	return set.guards, slices.Clone(set.problems)
}

func compileGuards(b *format.Bundle) (set guardSet) {
	for i := range b.Guards {
		guard, problems := compilePolicy(&source{policy: &b.Guards[i], files: b.Files, file: b.File, path: fmt.Sprintf("$.guards[%d]", i), guard: true})
		set.problems = append(set.problems, problems...)
		if set.guards = append(set.guards, guard); guard != nil {
			guard.rules.forgetFiles()
		}
	}
	return set
}

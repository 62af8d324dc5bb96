package settings

import (
	"fmt"
	"time"
)

// apiKeys checks the hash keys as far as their files need not be read.
func (c *checker) apiKeys(a *APIKeys) {
	c.duration("$.api_keys.max_age", a.MaxAge, time.Second, 24*time.Hour)
	names := map[string]bool{}
	for i, k := range a.HashKeys {
		path := fmt.Sprintf("$.api_keys.hash_keys[%d]", i)
		if k.Name == "" {
			c.add(path, "name is missing")
		}
		if names[k.Name] {
			c.add(path+".name", "%q twice", k.Name)
		}
		names[k.Name] = true
		if k.File == "" {
			c.add(path, "file is missing")
		}
	}
}

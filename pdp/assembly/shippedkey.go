package assembly

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/keysapi"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/stage/identity"
	"github.com/durward-pdp/durward/pdp/stage/identity/apikey"
)

// ShippedKeyOptions say which key is made for a bundle to ship.
type ShippedKeyOptions struct {
	// Bundle is the directory of the bundle, HashKey the server's secret by which the key will be known.
	Bundle  string
	HashKey settings.HashKey
	// Want is the key. Its Bundle is not looked at.
	Want keysapi.Create
	// Random must be a source of secrets.
	Random io.Reader
	Now    time.Time
}

// NewShippedKey makes a key, and the item of keys/*.yaml that makes it good. Nothing is written.
func NewShippedKey(o ShippedKeyOptions) (secret, item string, err error) {
	contents, err := bundle.ReadDirectory(o.Bundle)
	if err != nil {
		return "", "", err
	}
	decoded, problems := bundle.Parse(contents)
	if len(problems) > 0 {
		return "", "", problems
	}
	a, ok := decoded.Authenticators[o.Want.Authenticator]
	if !ok || a.Kind != "api_key" || a.Keys.File == "" {
		return "", "", fmt.Errorf("the bundle has no authenticator %q of kind api_key with keys: {file: PATH}", o.Want.Authenticator)
	}
	authenticator := &identity.KeyAuthenticator{Name: o.Want.Authenticator}
	if authenticator.Prefix, err = apikey.Prefix(a.Prefix); err != nil {
		return "", "", err
	}
	if a.Roles != nil {
		authenticator.Roles = a.Roles.Allow
	}
	hasher, _, err := readHashKeys([]settings.HashKey{o.HashKey})
	if err != nil {
		return "", "", err
	}
	record, no := newRecord(&o.Want, decoded.Name, authenticator.Name, o.Now)
	if no == nil {
		secret, no = makeKey(o.Random, hasher, authenticator, &record)
	}
	if no != nil {
		return "", "", errors.New(no.text)
	}
	item = apikey.WriteYAML(&record)
	// Texts that no bundle may hold are found here, and not when the server loads it.
	if _, problems := apikey.ReadFile(&format.File{Path: "the key's item", Data: []byte("keys:\n" + item)}, decoded.Name, authenticator.Name); len(problems) > 0 {
		return "", "", problems
	}
	return secret, item, nil
}

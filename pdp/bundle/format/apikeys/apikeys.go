// Package apikeys holds the decoded form of API keys that a policy bundle ships: the files keys/*.yaml.
//
// The structs mirror the files key for key; docs/schema/keys.schema.json is generated from them. They hold no secret: of a key only a
// keyed hash is written down. The stage of identity says what they mean. It imports nothing of this module and has no logic.
package apikeys

// File is one file of API keys.
type File struct {
	// Keys are the keys.
	Keys []Key `yaml:"keys"`
}

// Key is what is kept of one key; "durward keys create --file" writes it.
type Key struct {
	// ID is the public part of the key, 16 characters.
	ID string `yaml:"id"`
	// Hash is the HMAC-SHA-256 of the key, 64 hexadecimal digits; HashKey names the server's secret that it was made with.
	Hash    string `yaml:"hash"`
	HashKey string `yaml:"hash_key"`
	// Owner is the id of the subject, the same for all keys that are its own.
	Owner string `yaml:"owner"`
	// Kind is service (default) or user.
	Kind string `yaml:"kind"`
	// Tenant, Scopes and Roles are what the subject has with this key.
	Tenant string   `yaml:"tenant"`
	Scopes []string `yaml:"scopes"`
	Roles  []string `yaml:"roles"`
	// Addresses are the networks that the key may be used from, all where it is left out.
	Addresses []string `yaml:"addresses"`
	// Created is when the key was made, RFC 3339.
	Created string `yaml:"created"`
	// Expires is when the key expires, RFC 3339, or never.
	Expires string `yaml:"expires"`
	// Ends is when a key that was replaced ends, RFC 3339.
	Ends string `yaml:"ends"`
	// Revoked is when the key was revoked, RFC 3339; the key is good for nothing from then on.
	Revoked string `yaml:"revoked"`
}

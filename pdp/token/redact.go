package token

import (
	"fmt"
	"io"
)

// Format keeps the key, which may be a secret, out of every formatted text.
func (k *Key) Format(s fmt.State, _ rune) { redact(s, "key") }

// Format keeps the keys, which may be secrets, out of every formatted text: fmt
// shows unexported fields, for a verb that does not fit even behind a pointer.
func (s *KeySet) Format(f fmt.State, _ rune) { redact(f, "key set") }

// Format keeps the private key out of every formatted text.
func (s *Signer) Format(f fmt.State, _ rune) { redact(f, "signer") }

// Format keeps the token out of every formatted text.
func (t *Token) Format(s fmt.State, _ rune) { redact(s, "token") }

// Format keeps the token out of every formatted text.
func (t *Verified) Format(s fmt.State, _ rune) { redact(s, "verified token") }

// Format keeps the claims out of every formatted text.
func (c Claims) Format(s fmt.State, _ rune) { redact(s, "claims") }

func redact(s fmt.State, what string) { _, _ = io.WriteString(s, "["+what+"]") }

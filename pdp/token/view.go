package token

// Keys lists the usable keys, in the order of the set.
func (s *KeySet) Keys() []*Key { return append([]*Key(nil), s.keys...) }

// Algorithm returns the alg that the key is pinned to, empty when it says nothing.
func (k *Key) Algorithm() string { return k.algorithm }

// Type returns the kty, and the crv where there is one, as "RSA" or "EC P-256".
func (k *Key) Type() string {
	if k.curve == "" {
		return k.keyType
	}
	return k.keyType + " " + k.curve
}

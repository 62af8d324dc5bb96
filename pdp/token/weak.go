package token

import "math/big"

// rocaPrimes are the primes by which moduli of the broken generator show.
var rocaPrimes = [...]uint16{
	3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113,
	127, 131, 137, 139, 149, 151, 157, 163, 167,
}

// hasROCAFingerprint says whether a modulus is, modulo every small prime, a
// power of 65537, as all moduli of the generator of CVE-2017-15361 are. By
// chance that happens to fewer than one sound modulus in a hundred million.
func hasROCAFingerprint(n *big.Int) bool {
	var divisor, rest big.Int
	for _, p := range rocaPrimes {
		want := rest.Mod(n, divisor.SetUint64(uint64(p))).Uint64()
		if !isPowerOf65537(want, uint64(p)) {
			return false
		}
	}
	return true
}

func isPowerOf65537(want, p uint64) bool {
	power := uint64(1)
	for range p {
		if power == want {
			return true
		}
		power = power * 65537 % p
	}
	return false
}

// smallOrderPoints are the encodings of Ed25519 points of order 1, 2, 4 and 8,
// without the sign bit, that a verifier would take: for such a key a signature
// can be made without any secret.
var smallOrderPoints = [...]string{
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	"\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
	"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
	"\xec\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
	"\xed\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
	"\xee\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
}

func hasSmallOrder(x []byte) bool {
	masked := append([]byte(nil), x...)
	masked[len(masked)-1] &= 0x7f
	for _, point := range smallOrderPoints {
		if string(masked) == point {
			return true
		}
	}
	return false
}

package token

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/c2sp/wycheproof"
)

// suite returns the folder of an external suite, which is not part of this
// repository: DURWARD_SUITES names where they are.
func suite(t *testing.T, name string) string {
	t.Helper()
	root := os.Getenv("DURWARD_SUITES")
	if root == "" {
		t.Skipf("left out: DURWARD_SUITES does not say where the suite %s is", name)
	}
	return filepath.Join(root, name)
}

func readSuite(t *testing.T, into any, path ...string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// verifyJWS is the signature level alone: the payloads of these suites are not
// claims.
func verifyJWS(raw string, keys *KeySet) error {
	jws, err := parseCompact(raw, ceilingMaxLength)
	if err != nil {
		return err
	}
	key, err := keys.choose(jws.header)
	if err != nil {
		return err
	}
	if !key.verify(jws.header.Algorithm, jws.signed, jws.signature) {
		return refuse(reasonSignature, "the signature does not match")
	}
	return nil
}

// suiteKeys reads a key or a set as a verifier would be given it.
func suiteKeys(t *testing.T, key json.RawMessage) (*KeySet, error) {
	t.Helper()
	var head struct {
		Kty  string
		Keys []struct{ Kty string }
	}
	if err := json.Unmarshal(key, &head); err != nil {
		t.Fatal(err)
	}
	if head.Keys == nil {
		key = json.RawMessage(`{"keys":[` + string(key) + `]}`)
	}
	if head.Kty == "oct" || len(head.Keys) > 0 && head.Keys[0].Kty == "oct" {
		return parseSecretSet(key)
	}
	return ParseKeySet(key)
}

// disagreements are the Wycheproof vectors, by file and tcId, on which a strict verifier and the label differ, and why.
var disagreements = map[string]map[string]string{
	"json_web_signature_test.json": {
		"346": "labelled valid (RFC 7520, figure 20): the key is pinned to PS256, the token says PS384", "350": "the same as 346",
		"347": "labelled valid: the key is pinned to ES521, which is no algorithm", "351": "the same as 347",
		"367": "labelled invalid: the text is that of 370, a sound token", "370": "labelled invalid: the text is that of 367",
		"372": "labelled valid: the header has a '?', which is not base64url", "373": "labelled valid: the payload has a '?'",
	},
	"json_web_key_test.json": {},
}

// TestWycheproof verifies the vectors of the project Wycheproof: 419 of 427 as they are labelled.
func TestWycheproof(t *testing.T) {
	for file, want := range map[string]int{"json_web_signature_test.json": 401, "json_web_key_test.json": 26} {
		t.Run(file, func(t *testing.T) {
			disagreements := disagreements[file]
			var vectors struct {
				TestGroups []struct {
					Public, Private json.RawMessage
					Tests           []struct {
						TcID    int
						Comment string
						JWS     string
						Result  string
					}
				}
			}
			data, err := fs.ReadFile(wycheproof.TestVectors, file)
			if err == nil {
				err = json.Unmarshal(data, &vectors)
			}
			if err != nil {
				t.Fatal(err)
			}
			count := 0
			var differing []string
			for _, group := range vectors.TestGroups {
				key := group.Public
				if key == nil {
					key = group.Private
				}
				keys, keyErr := suiteKeys(t, key)
				for _, test := range group.Tests {
					count++
					err := keyErr
					if err == nil {
						err = verifyJWS(test.JWS, keys)
					}
					if (err == nil) == (test.Result == "valid") {
						continue
					}
					id := strconv.Itoa(test.TcID)
					differing = append(differing, id)
					if disagreements[id] == "" {
						t.Errorf("%s (%s) is labelled %s: %v", id, test.Comment, test.Result, err)
					}
				}
			}
			slices.Sort(differing)
			if known := slices.Sorted(maps.Keys(disagreements)); !slices.Equal(known, differing) || count != want {
				t.Errorf("%d vectors (want %d), differing %v, known %v", count, want, differing, known)
			}
		})
	}
}

func TestJSONParsingSuite(t *testing.T) {
	folder := filepath.Join(suite(t, "json-parsing"), "test_parsing")
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[byte]int{}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		kind := entry.Name()[0]
		counts[kind]++
		_, syntax := parseJSON(data)
		switch kind {
		case 'y':
			// RFC 8259 lets duplicate names stand; here they are refused.
			duplicate := strings.HasPrefix(entry.Name(), "y_object_duplicated_key")
			if (syntax == nil) == duplicate {
				t.Errorf("%s: %v", entry.Name(), syntax)
			}
		case 'n':
			if syntax == nil {
				t.Errorf("%s is accepted", entry.Name())
			}
		case 'i':
			// Numbers that no float64 holds are kept as text; all else that the
			// RFC leaves open is refused.
			number := strings.HasPrefix(entry.Name(), "i_number_")
			if (syntax == nil) != number {
				t.Errorf("%s: %v", entry.Name(), syntax)
			}
		}
	}
	if counts['y'] != 95 || counts['n'] != 188 || counts['i'] != 35 {
		t.Errorf("%v files", counts)
	}
}

// TestRFCExamples: signatures of RFC 7515, 7520 and 8037 verify, and not with another payload; what has no signature, is
// encrypted, or has an extension that must be understood (RFC 7797) is refused for that. Public members of the keys are there alone.
func TestRFCExamples(t *testing.T) {
	var examples []struct {
		Source, Token, Reason string
		Key                   map[string]any
	}
	readSuite(t, &examples, "testdata", "rfc.json")
	if len(examples) != 21 {
		t.Errorf("%d examples", len(examples))
	}
	for _, example := range examples {
		t.Run(example.Source, func(t *testing.T) {
			if example.Key == nil {
				_, err := Parse(example.Token, 0)
				wantReason(t, example.Token, err, example.Reason)
				return
			}
			keys, err := suiteKeys(t, json.RawMessage(text(t, example.Key)))
			if err != nil {
				t.Fatal(err)
			}
			wantReason(t, example.Token, verifyJWS(example.Token, keys), example.Reason)
			first, rest, _ := strings.Cut(example.Token, ".")
			forged := first + "." + encode("x") + rest[strings.Index(rest, "."):]
			wantReason(t, forged, verifyJWS(forged, keys), reasonSignature)
			if example.Key["kty"] == "oct" {
				return
			}
			example.Key["d"] = "AA"
			if _, err := ParseKeySet(set(t, example.Key)); err == nil {
				t.Error("a private key is accepted")
			}
		})
	}
}

// TestRFCTokens verifies the examples of RFC 7515, RFC 7520 and RFC 8037 whose
// keys are in the cookbook, and refuses unsigned and unknown ones.
func TestRFCTokens(t *testing.T) {
	var files map[string][]string
	readSuite(t, &files, suite(t, "rfc-jose"), "compact-tokens.json")
	cookbook := suite(t, "jose-cookbook")
	texts := []json.RawMessage{
		// RFC 7515 appendix A.1.1.
		json.RawMessage(`{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}`),
		// RFC 8037 appendix A.2.
		json.RawMessage(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`),
	}
	for _, name := range []string{"3_1.ec_public_key.json", "3_3.rsa_public_key.json", "3_5.symmetric_key_mac_computation.json"} {
		var key json.RawMessage
		readSuite(t, &key, cookbook, "jwk", name)
		texts = append(texts, key)
	}
	var sets []*KeySet
	for _, key := range texts {
		keys, err := suiteKeys(t, key)
		if err != nil {
			t.Fatal(err)
		}
		sets = append(sets, keys)
	}
	got := map[string]bool{}
	unsigned := 0
	for _, tokens := range files {
		for _, raw := range tokens {
			jws, err := parseCompact(raw, 0)
			if strings.HasPrefix(raw, encode(`{"alg":"none"}`)) || strings.HasPrefix(raw, encode(`{"alg":"ED25519`)) {
				unsigned++
				wantReason(t, raw, err, reasonAlgorithm)
			}
			for _, keys := range sets {
				if err == nil && verifyJWS(raw, keys) == nil {
					got[jws.header.Algorithm] = true
				}
			}
		}
	}
	want := []string{"ES512", "EdDSA", "HS256", "HS384", "HS512", "PS384", "RS256"}
	if algs := slices.Sorted(maps.Keys(got)); !slices.Equal(algs, want) || unsigned != 3 {
		t.Errorf("verified %v, want %v; %d unsigned or unknown", algs, want, unsigned)
	}
}

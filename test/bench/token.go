package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/durward-pdp/durward/pdp/token"
)

// runToken compares reading and verifying a token with golang-jwt alone, told to check what it can check: algorithm, issuer,
// audience, expiry. Durward uses its signing methods behind a reader and checks of its own.
func runToken(ctx context.Context, s Setup) ([]Row, error) {
	var matches []match
	for _, algorithm := range []string{"ES256", "RS256"} {
		i, err := newIssuer(algorithm, time.Now())
		if err != nil {
			return nil, err
		}
		ours, err := i.verifyStrictly()
		if err != nil {
			return nil, err
		}
		matches = append(matches, match{name: "token/" + algorithm, rounds: s.Rounds, contenders: []contender{
			repeated("durward", s.Span, ours),
			repeated("golang-jwt", s.Span, i.verifyPlainly()),
		}})
	}
	return runAll(ctx, matches)
}

// repeated is a contender that one caller asks.
func repeated(subject string, span time.Duration, decide func(context.Context) error) contender {
	return contender{subject: subject, round: func(ctx context.Context) (sample, error) { return repeat(ctx, span, decide) }}
}

func (i *issuer) verifyStrictly() (func(context.Context) error, error) {
	keys, err := token.ParseKeySet(i.keys)
	if err != nil {
		return nil, fmt.Errorf("reading the keys of %s: %w", i.algorithm, err)
	}
	verifier, err := token.NewVerifier(token.Config{Issuer: issuerName, Algorithms: []string{i.algorithm}})
	if err != nil {
		return nil, fmt.Errorf("making the verifier of %s: %w", i.algorithm, err)
	}
	audiences, err := token.NewAudiences(audience)
	if err != nil {
		return nil, fmt.Errorf("making the audiences: %w", err)
	}
	return func(context.Context) error {
		parsed, err := token.Parse(i.bearer, 0)
		if err != nil {
			return err
		}
		verified, err := verifier.Verify(parsed, keys)
		if err != nil {
			return err
		}
		claims, err := verifier.Check(verified, audiences, time.Now())
		if err == nil && claims.Subject() == "" {
			err = fmt.Errorf("%w: no subject", errAnswer)
		}
		return err
	}, nil
}

func (i *issuer) verifyPlainly() func(context.Context) error {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{i.algorithm}), jwt.WithIssuer(issuerName), jwt.WithAudience(audience), jwt.WithExpirationRequired())
	key := func(*jwt.Token) (any, error) { return i.public, nil }
	return func(context.Context) error {
		parsed, err := parser.Parse(i.bearer, key)
		if err != nil {
			return err
		}
		subject, err := parsed.Claims.GetSubject()
		if err == nil && subject == "" {
			err = fmt.Errorf("%w: no subject", errAnswer)
		}
		return err
	}
}

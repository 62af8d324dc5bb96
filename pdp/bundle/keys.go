package bundle

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// key says who enforces a key of the format. A key of the format that nobody enforces yet is refused at load: what a
// bundle says is done or the bundle does not load.
type key struct {
	// by is the package that enforces the key, "" when this version does not.
	by string
	// values are all values that the key can have, nil for any; later are those of them that are not enforced yet.
	values, later []string
	// positive keys have no zero: it would read as if the key were left out.
	positive bool
}

const (
	byBundle     = "pdp/bundle"
	byRoute      = "pdp/route"
	byInspection = "pdp/stage/inspection"
	byIdentity   = "pdp/stage/identity"
	byPolicy     = "pdp/stage/policy"
	byLimits     = "pdp/stage/limits"
	byUpstream   = "pdp/stage/upstream"
	notYet       = ""
)

// bundleKeys are the keys of bundle.yaml. "*" stands for a name that the author chooses, "[]" for an item of a list.
var bundleKeys = map[string]key{
	"format":                          {by: byBundle},
	"requires":                        {by: byBundle},
	"name":                            {by: byBundle},
	"authenticators":                  {by: byIdentity},
	"authenticators.*":                {by: byIdentity},
	"authenticators.*.kind":           {by: byIdentity, values: []string{"jwt", "introspection", "api_key", "mtls"}},
	"authenticators.*.issuer":         {by: byIdentity},
	"authenticators.*.algorithms":     {by: byIdentity},
	"authenticators.*.jwks":           {by: byIdentity},
	"authenticators.*.jwks.file":      {by: byIdentity},
	"authenticators.*.jwks.url":       {by: byIdentity},
	"authenticators.*.jwks.discovery": {by: byIdentity},
	"authenticators.*.jwks.max_stale": {by: byIdentity},
	"authenticators.*.types":          {by: byIdentity},
	"authenticators.*.leeway":         {by: byIdentity},
	"authenticators.*.max_lifetime":   {by: byIdentity},
	"authenticators.*.subject":        {by: byIdentity},
	"authenticators.*.subject.id":     {by: byIdentity},
	"authenticators.*.subject.tenant": {by: byIdentity},
	"authenticators.*.subject.scopes": {by: byIdentity},
	"authenticators.*.roles":          {by: byIdentity},
	"authenticators.*.roles.from":     {by: byIdentity},
	"authenticators.*.roles.allow":    {by: byIdentity},
	"authenticators.*.sans":           {by: byIdentity},

	"authenticators.*.spiffe":              {by: byIdentity},
	"authenticators.*.spiffe.trust_domain": {by: byIdentity},
	"authenticators.*.spiffe.paths":        {by: byIdentity},

	"authenticators.*.introspection":                       {by: byIdentity},
	"authenticators.*.introspection.url":                   {by: byIdentity},
	"authenticators.*.introspection.client":                {by: byIdentity},
	"authenticators.*.introspection.client.id":             {by: byIdentity},
	"authenticators.*.introspection.client.authentication": {by: byIdentity, values: []string{"basic", "private_key_jwt", "mtls"}},
	"authenticators.*.introspection.client.secret":         {by: byIdentity},
	"authenticators.*.introspection.client.key_id":         {by: byIdentity},
	"authenticators.*.introspection.client.audience":       {by: byIdentity, values: []string{"issuer", "endpoint"}},
	"authenticators.*.introspection.cache":                 {by: byIdentity},
	"authenticators.*.introspection.negative_cache":        {by: byIdentity},
	"authenticators.*.introspection.timeout":               {by: byIdentity},
	"authenticators.*.introspection.without_audience":      {by: byIdentity, values: []string{"deny", "allow"}},

	"guards":                            {by: byPolicy},
	"limit_definitions":                 {by: byLimits},
	"record":                            {by: byBundle},
	"record.headers":                    {by: byBundle},
	"record.query":                      {by: byBundle},
	"record.params":                     {by: byBundle},
	"record.claims":                     {by: byBundle},
	"authenticators.*.logout":           {by: byIdentity},
	"authenticators.*.logout.audiences": {by: byIdentity},
	"authenticators.*.logout.ends":      {by: byIdentity, values: []string{"session", "subject"}},
	"authenticators.*.prefix":           {by: byIdentity},
	"authenticators.*.keys":             {by: byIdentity},
	"authenticators.*.keys.file":        {by: byIdentity},
	"authenticators.*.keys.table":       {by: byIdentity},
}

// serviceKeys are the keys of service.yaml.
var serviceKeys = map[string]key{
	"service":                                 {by: byBundle},
	"match":                                   {by: byRoute},
	"match.[].host":                           {by: byRoute},
	"match.[].prefix":                         {by: byRoute},
	"tls":                                     {by: byRoute, values: []string{"required", "optional"}},
	"path":                                    {by: byRoute},
	"path.encoded_slash":                      {by: byRoute, values: []string{"refuse", "keep"}},
	"path.parameters":                         {by: byRoute, values: []string{"refuse", "keep"}},
	"path.trailing_slash":                     {by: byRoute, values: []string{"strict", "ignore"}},
	"path.case":                               {by: byRoute, values: []string{"sensitive", "insensitive"}},
	"identity":                                {by: byIdentity},
	"identity.mode":                           {by: byIdentity, values: []string{"required", "optional", "none"}},
	"identity.accept":                         {by: byIdentity},
	"identity.audiences":                      {by: byIdentity},
	"identity.credentials":                    {by: byIdentity},
	"identity.resource_metadata":              {by: byIdentity},
	"identity.require":                        {by: byIdentity, values: []string{"bound"}},
	"identity.dpop":                           {by: byIdentity},
	"identity.dpop.algorithms":                {by: byIdentity},
	"identity.dpop.window":                    {by: byIdentity},
	"identity.dpop.ahead":                     {by: byIdentity},
	"identity.dpop.nonce":                     {by: byIdentity, values: []string{"none", "required"}},
	"identity.dpop.on_error":                  {by: byIdentity, values: []string{"deny", "allow"}},
	"identity.metadata":                       {by: byIdentity},
	"identity.metadata.resource":              {by: byIdentity},
	"identity.metadata.name":                  {by: byIdentity},
	"identity.metadata.documentation":         {by: byIdentity},
	"identity.metadata.certificate_bound":     {by: byIdentity},
	"identity.revocation":                     {by: byIdentity},
	"identity.revocation.on_error":            {by: byIdentity, values: []string{"stale", "deny", "allow"}},
	"identity.revocation.max_age":             {by: byIdentity},
	"policies":                                {by: byPolicy},
	"upstream":                                {by: byUpstream},
	"upstream.headers":                        {by: byUpstream},
	"upstream.headers.*":                      {by: byUpstream},
	"upstream.headers.*.attr":                 {by: byUpstream},
	"upstream.headers.*.missing":              {by: byUpstream},
	"upstream.remove":                         {by: byUpstream},
	"upstream.token":                          {by: byUpstream},
	"upstream.token.header":                   {by: byUpstream},
	"upstream.token.audience":                 {by: byUpstream},
	"upstream.token.ttl":                      {by: byUpstream, positive: true},
	"upstream.token.anonymous":                {by: byUpstream},
	"upstream.token.claims":                   {by: byUpstream},
	"upstream.token.claims.*":                 {by: byUpstream},
	"upstream.token.claims.*.attr":            {by: byUpstream},
	"upstream.token.claims.*.missing":         {by: byUpstream},
	"cors":                                    {by: notYet},
	"cors.origins":                            {by: notYet},
	"defaults":                                {by: byLimits},
	"defaults.limits":                         {by: byLimits},
	"defaults.body":                           {by: byInspection},
	"defaults.body.max":                       {by: byInspection},
	"defaults.body.types":                     {by: byInspection},
	"limit_definitions":                       {by: byLimits},
	"routes":                                  {by: byRoute},
	"routes.[].name":                          {by: byRoute},
	"routes.[].path":                          {by: byRoute},
	"routes.[].methods":                       {by: byRoute},
	"routes.[].access":                        {by: byRoute, values: []string{"public"}},
	"routes.[].purpose":                       {by: byBundle, values: []string{"login"}},
	"routes.[].action":                        {by: byRoute},
	"routes.[].resource":                      {by: byBundle},
	"routes.[].resource.type":                 {by: byBundle},
	"routes.[].scopes":                        {by: byIdentity},
	"routes.[].require":                       {by: byIdentity, values: []string{"bound"}},
	"routes.[].revocation":                    {by: byIdentity},
	"routes.[].revocation.on_error":           {by: byIdentity, values: []string{"stale", "deny", "allow"}},
	"routes.[].revocation.max_age":            {by: byIdentity},
	"routes.[].assurance":                     {by: byIdentity},
	"routes.[].assurance.acr":                 {by: byIdentity},
	"routes.[].assurance.amr":                 {by: byIdentity},
	"routes.[].assurance.max_age":             {by: byIdentity},
	"routes.[].same":                          {by: byPolicy},
	"routes.[].same.[].attr":                  {by: byPolicy},
	"routes.[].same.[].missing":               {by: byPolicy},
	"routes.[].limits":                        {by: byLimits},
	"routes.[].body":                          {by: byInspection},
	"routes.[].body.max":                      {by: byInspection},
	"routes.[].body.types":                    {by: byInspection},
	"routes.[].identity":                      {by: byIdentity, values: []string{"required", "optional", "none"}},
	"unmatched":                               {by: byRoute, values: []string{"403", "404"}},
	"candidate":                               {by: byPolicy},
	"candidate.policy":                        {by: byPolicy},
	"candidate.model":                         {by: byPolicy},
	"candidate.rules":                         {by: byPolicy},
	"observe":                                 {by: byPolicy},
	"observe.[].route":                        {by: byPolicy},
	"observe.[].until":                        {by: byPolicy},
	"routes.[].resource.id":                   {by: byBundle},
	"routes.[].resource.id.attr":              {by: byBundle},
	"routes.[].resource.id.missing":           {by: byBundle},
	"routes.[].resource.properties":           {by: byBundle},
	"routes.[].resource.properties.*":         {by: byBundle},
	"routes.[].resource.properties.*.attr":    {by: byBundle},
	"routes.[].resource.properties.*.missing": {by: byBundle},
}

// policyKeys are the keys of an item of policies or guards.
var policyKeys = map[string]key{
	"name":                 {by: byPolicy},
	"model":                {by: byPolicy},
	"rules":                {by: byPolicy},
	"request":              {by: byPolicy},
	"request.*":            {by: byPolicy},
	"request.*.attr":       {by: byPolicy},
	"request.*.missing":    {by: byPolicy},
	"token_roles":          {by: byPolicy},
	"token_roles.from":     {by: byPolicy},
	"token_roles.relation": {by: byPolicy},
	"token_roles.domain":   {by: byPolicy},
	"matching":             {by: byPolicy},
	"matching.*":           {by: byPolicy},
	"matching.*.names":     {by: byPolicy},
	"matching.*.domains":   {by: byPolicy},
	"max_cost":             {by: byPolicy},
}

// limitKeys are the keys of a limit definition.
var limitKeys = map[string]key{
	"rate":                         {by: byLimits},
	"burst":                        {by: byLimits, positive: true},
	"concurrency":                  {by: byLimits, positive: true},
	"expires":                      {by: byLimits},
	"without_release":              {by: byLimits, values: []string{"deny", "expire"}},
	"algorithm":                    {by: byLimits, values: []string{"gcra", "fixed_window", "sliding_window", "sliding_log", "quota"}},
	"by":                           {by: byLimits},
	"by.[].attr":                   {by: byLimits},
	"by.[].missing":                {by: byLimits, values: []string{"deny", "skip", "share"}},
	"when":                         {by: byLimits},
	"when.*":                       {by: byLimits},
	"when.*.is":                    {by: byLimits},
	"when.*.not":                   {by: byLimits},
	"when.*.contains":              {by: byLimits},
	"when.*.present":               {by: byLimits},
	"cost":                         {by: byLimits},
	"count":                        {by: byLimits, values: []string{"allowed", "denied", "all"}},
	"at":                           {by: byLimits, values: []string{"gate"}},
	"distinct":                     {by: byLimits},
	"distinct.attr":                {by: byLimits},
	"distinct.missing":             {by: byLimits, values: []string{"deny", "skip", "share"}},
	"on_error":                     {by: byLimits, values: []string{"local_share", "allow", "deny"}},
	"by_class":                     {by: byLimits},
	"by_class.of":                  {by: byLimits},
	"by_class.first_of":            {by: byLimits},
	"by_class.first_of.[].*":       {by: byLimits},
	"by_class.first_of.[].*.rate":  {by: byLimits},
	"by_class.first_of.[].*.burst": {by: byLimits, positive: true},
	"by_class.otherwise":           {by: byLimits},
	"by_class.otherwise.rate":      {by: byLimits},
	"by_class.otherwise.burst":     {by: byLimits, positive: true},
	"shadow":                       {by: byLimits},
	"missing":                      {by: byLimits, values: []string{"deny", "skip", "share"}},
	"lease":                        {by: byLimits, positive: true},
}

// find returns the key at a path. Names that the author chooses stand for "*".
func find(keys map[string]key, path []string) (key, bool) {
	switch {
	case len(path) >= 2 && (path[0] == "policies" || path[0] == "guards") && path[1] == "[]":
		keys, path = policyKeys, path[2:]
	case len(path) == 2 && path[0] == "limit_definitions":
		return key{by: byLimits}, true
	case len(path) > 2 && path[0] == "limit_definitions":
		keys, path = limitKeys, path[2:]
	}
	name := strings.Join(path, ".")
	if k, ok := keys[name]; ok && !strings.Contains(name, "*") {
		return k, true
	}
	for pattern, k := range keys {
		if fits(pattern, path) {
			return k, true
		}
	}
	return key{}, false
}

func fits(pattern string, path []string) bool {
	segments := strings.Split(pattern, ".")
	if len(segments) != len(path) {
		return false
	}
	for i, segment := range segments {
		if segment != path[i] && (segment != "*" || path[i] == "[]") {
			return false
		}
	}
	return true
}

// checkKeys refuses the keys and values that this version does not enforce, and values that the format does not have.
func checkKeys(file *format.File, keys map[string]key) format.Problems {
	var problems format.Problems
	refused := "" // the path of a refused key; what stands below it needs no word of its own
	file.Walk(func(path []string, at format.Position, text string) {
		name := path[len(path)-1]
		if name == "[]" {
			return
		}
		here := strings.Join(path, "\x00")
		if refused != "" && strings.HasPrefix(here, refused+"\x00") {
			return
		}
		k, ok := find(keys, path)
		switch {
		case !ok || k.by == notYet:
			refused = here
			problems = append(problems, file.ProblemAt(at.Line, at.Column, notEnforced(name)))
		case slices.Contains(k.later, text):
			problems = append(problems, file.ProblemAt(at.Line, at.Column, notEnforced(name+": "+text)))
		case k.values != nil && !slices.Contains(k.values, text):
			p := file.ProblemAt(at.Line, at.Column, fmt.Sprintf("%s is %s, not %q", name, oneOf(k.values), text))
			problems = append(problems, p)
		case k.positive && strings.Trim(text, "-0") == "":
			problems = append(problems, file.ProblemAt(at.Line, at.Column, name+" is 1 or more; leave it out for the default"))
		}
	})
	return problems
}

func notEnforced(what string) string {
	return fmt.Sprintf("%q is part of the format, but this version does not enforce it; remove it", what)
}

// oneOf words a choice.
func oneOf(values []string) string {
	if len(values) == 1 {
		return values[0]
	}
	return strings.Join(values[:len(values)-1], ", ") + " or " + values[len(values)-1]
}

// place says what a file is, by where it stands.
type place uint8

const (
	unknownPlace  place = iota // not of the format
	laterPlace                 // of the format, not enforced yet
	yamlPlace                  // bundle.yaml and services/*/service.yaml
	referredPlace              // must be named by another file
	suitePlace                 // decision tests
	domainPlace                // envoyproxy/ratelimit's limits
	testPlace                  // what decision tests read: golden tables, bodies
)

// places are the patterns (path.Match) of the format's files, first match first.
var places = []struct {
	pattern string
	place   place
}{
	{"bundle.yaml", yamlPlace},
	{"services/*/service.yaml", yamlPlace},
	{"services/*/openapi.yaml", laterPlace},
	{"services/*/*.conf", referredPlace},
	{"services/*/*.csv", referredPlace},
	{"shared/*.conf", referredPlace},
	{"shared/*.csv", referredPlace},
	{"shared/*/*.conf", referredPlace},
	{"shared/*/*.csv", referredPlace},
	{"keys/*.json", referredPlace},
	{"keys/*.yaml", referredPlace},
	{"ratelimits/*.yaml", domainPlace},
	{"entities/*", laterPlace},
	{"tests/*.yaml", suitePlace},
	{"tests/*/*.yaml", suitePlace},
	{"tests/*.csv", testPlace},
	{"tests/*/*.csv", testPlace},
	{"tests/*.json", testPlace},
	{"tests/*/*.json", testPlace},
	{"tests/*.txt", testPlace},
	{"tests/*/*.txt", testPlace},
	{"threats.yaml", laterPlace},
}

func placeOf(name string) place {
	for _, p := range places {
		if ok, err := path.Match(p.pattern, name); ok && err == nil {
			return p.place
		}
	}
	return unknownPlace
}

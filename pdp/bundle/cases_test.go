package bundle

// problemCases are edits of the sample and what they are answered with.
var problemCases = []struct {
	name      string
	file      string   // services/orders/service.yaml where it is empty
	edit      []string // old and new texts in turn
	remove    bool     // the file
	noAddress bool     // the operator chose no address rule
	want      string   // the first lines, without "services/orders/"
}{
	// bundle.yaml
	{name: "no bundle.yaml", file: "bundle.yaml", remove: true, want: `bundle.yaml: a bundle needs this file`},
	{name: "format missing", file: "bundle.yaml", edit: []string{"format: 1\n", ""}, want: `bundle.yaml:1:1: format: 1 is mandatory`},
	{name: "format of the future", file: "bundle.yaml", edit: []string{"format: 1\n", "format: 2\nnews: true\n"}, want: `bundle.yaml:1:9: the bundle is in format 2; this server reads format 1`},
	{name: "requires a later format", file: "bundle.yaml", edit: []string{`"1.0"`, `"1.3"`, "name: acme", "name: acme\nnews: true"}, want: `bundle.yaml:2:11: the bundle needs format 1.3; this server reads up to 1.0`},
	{name: "requires nonsense", file: "bundle.yaml", edit: []string{`"1.0"`, `"v1"`}, want: `bundle.yaml:2:11: "v1" is no version of the format; write "1.0"`},
	{name: "requires without quotes", file: "bundle.yaml", edit: []string{`"1.0"`, `1.0`}, want: `bundle.yaml:2:11: expected text, found a number (put it in quotes: "1.0")`},
	{name: "name", file: "bundle.yaml", edit: []string{"name: acme", "name: Acme:1"}, want: `bundle.yaml:3:7: the bundle needs a name; a name is 1 to 63 lower-case letters, digits and hyphens, and begins with a letter or digit`},
	{name: "authenticator's name", file: "bundle.yaml", edit: []string{"  machines:", "  a:b:"}, want: `bundle.yaml:15:3: "a:b" is no name of an authenticator; a name is 1 to 63 lower-case letters, digits and hyphens, and begins with a letter or digit
service.yaml:7:43: there is no authenticator "machines"`},
	{name: "no kind", file: "bundle.yaml", edit: []string{"kind: mtls, ", ""}, want: `bundle.yaml:15:3: an authenticator needs a kind: jwt, introspection, mtls or api_key`},
	{name: "unknown kind", file: "bundle.yaml", edit: []string{"kind: mtls, ", "kind: ldap, "}, want: `bundle.yaml:15:14: kind is jwt, introspection, api_key or mtls, not "ldap"`},
	{name: "jwt without its keys", file: "bundle.yaml", edit: []string{"    issuer: https://idp.example.com\n", "", "    algorithms: [RS256, ES256]\n", "", "    jwks: {file: keys/corp.jwks.json}\n", ""}, want: `bundle.yaml:5:3: an authenticator of kind jwt needs issuer
bundle.yaml:5:3: an authenticator of kind jwt needs algorithms
bundle.yaml:5:3: an authenticator of kind jwt needs jwks
keys/corp.jwks.json: nothing in the bundle refers to this file`},
	{name: "mtls with those of jwt", file: "bundle.yaml", edit: []string{"kind: mtls,", "kind: mtls, issuer: x, leeway: 1s,"}, want: `bundle.yaml:15:34: issuer has no meaning for an authenticator of kind mtls
bundle.yaml:15:45: leeway has no meaning for an authenticator of kind mtls`},
	{name: "jwt with those of mtls", file: "bundle.yaml", edit: []string{"    leeway: 30s\n", "    sans: [x]\n"}, want: `bundle.yaml:11:5: sans has no meaning for an authenticator of kind jwt`},
	{name: "jwt with those of introspection", file: "bundle.yaml", edit: []string{"    leeway: 30s\n", "    introspection: {url: u}\n"}, want: `bundle.yaml:11:5: introspection has no meaning for an authenticator of kind jwt`},
	{name: "introspection without its own", file: "bundle.yaml", edit: []string{"    kind: jwt\n", "    kind: introspection\n", "    issuer: https://idp.example.com\n", "", "    algorithms: [RS256, ES256]\n", "", "    jwks: {file: keys/corp.jwks.json}\n", ""}, want: `bundle.yaml:5:3: an authenticator of kind introspection needs issuer
bundle.yaml:5:3: an authenticator of kind introspection needs introspection
bundle.yaml:7:5: types has no meaning for an authenticator of kind introspection
bundle.yaml:9:19: max_lifetime has no meaning for an authenticator of kind introspection
keys/corp.jwks.json: nothing in the bundle refers to this file`},
	{name: "introspection with those of others", file: "bundle.yaml", edit: []string{"    kind: jwt\n", "    kind: introspection\n", "    leeway: 30s\n", "    introspection: {url: u}\n    sans: [x]\n"}, want: `bundle.yaml:8:5: algorithms has no meaning for an authenticator of kind introspection
bundle.yaml:9:5: jwks has no meaning for an authenticator of kind introspection
bundle.yaml:10:5: types has no meaning for an authenticator of kind introspection
bundle.yaml:12:5: sans has no meaning for an authenticator of kind introspection
bundle.yaml:13:19: max_lifetime has no meaning for an authenticator of kind introspection`},
	{name: "api_key with those of others", file: "bundle.yaml", edit: []string{"kind: mtls,", "kind: api_key, keys: {table: true}, issuer: x,"}, want: `bundle.yaml:15:58: issuer has no meaning for an authenticator of kind api_key
bundle.yaml:15:61: sans has no meaning for an authenticator of kind api_key`},
	{name: "api_key without keys", file: "bundle.yaml", edit: []string{`kind: mtls, sans: ["spiffe://example.com/*"]`, "kind: api_key, prefix: live"}, want: `bundle.yaml:15:3: an authenticator of kind api_key needs keys: {file: PATH} or keys: {table: true}`},
	{name: "those of api_key with others", file: "bundle.yaml", edit: []string{"kind: mtls,", "kind: mtls, prefix: live, keys: {table: true},"}, want: `bundle.yaml:15:34: prefix has no meaning for an authenticator of kind mtls
bundle.yaml:15:40: keys has no meaning for an authenticator of kind mtls`},
	{name: "no such file of API keys", file: "bundle.yaml", edit: []string{`kind: mtls, sans: ["spiffe://example.com/*"]`, "kind: api_key, keys: {file: keys/machines.yaml}"}, want: `bundle.yaml:15:42: the bundle has no file "keys/machines.yaml"`},
	{name: "no such key file", file: "bundle.yaml", edit: []string{"keys/corp.jwks.json", "keys/crop.jwks.json"}, want: `bundle.yaml:9:18: the bundle has no file "keys/crop.jwks.json" (did you mean "keys/corp.jwks.json"?)
keys/corp.jwks.json: nothing in the bundle refers to this file`},
	{name: "a key file of another kind", file: "bundle.yaml", edit: []string{"keys/corp.jwks.json", "bundle.yaml"}, want: `bundle.yaml:9:18: "bundle.yaml" is not a file that can be referred to
keys/corp.jwks.json: nothing in the bundle refers to this file`},
	{name: "two guards of a name", file: "bundle.yaml", edit: []string{"guards:\n", "guards:\n  - {name: blocked, model: shared/deny.conf, rules: [shared/deny.csv]}\n"}, want: `bundle.yaml:18:12: a second policy named "blocked"`},
	{name: "guard without model and rules", file: "bundle.yaml", edit: []string{"guards:\n", "guards:\n  - {name: other}\n"}, want: `bundle.yaml:17:5: a policy needs a model
bundle.yaml:17:5: a policy needs rules: a list of files`},
	{name: "credentials in records", file: "bundle.yaml", edit: []string{"[user-agent]", "[user-agent, cookie, x_api_key, User-Agent]", "[page]", "['']"}, want: `bundle.yaml:20:32: "cookie" carries credentials, which no record can hold
bundle.yaml:20:40: "x_api_key" carries credentials, which no record can hold
bundle.yaml:20:51: "User-Agent" is no lower-case header name
bundle.yaml:20:72: an empty name`},
	// files
	{name: "unknown file", file: "notes.txt", edit: []string{"", "x"}, want: `notes.txt: this version does not know such a file at this place`},
	{name: "backup of a rule file", file: "services/orders/policy.csv~", edit: []string{"", "x"}, want: `"services/orders/policy.csv~": a path in a bundle is made of letters, digits, dots, hyphens and underscores (an editor's copy? remove it)`},
	{name: "what a patch left", file: "services/orders/policy.csv.orig", edit: []string{"", "x"}, want: `policy.csv.orig: this version does not know such a file at this place (an editor's copy? remove it)`},
	{name: "file deeper than the format has", file: "services/orders/more/x.csv", edit: []string{"", "x"}, want: `more/x.csv: this version does not know such a file at this place`},
	{name: "service without service.yaml", file: "services/empty/policy.csv", edit: []string{"", "p, a\n"}, want: `services/empty: a service needs a service.yaml here`},
	{name: "unreferenced rules", file: "services/orders/old.csv", edit: []string{"", "p, a\n"}, want: `old.csv: nothing in the bundle refers to this file`},
	{name: "control character in rules", file: "services/orders/policy.csv", edit: []string{"", "p, a\x1b[2J\n"}, want: `policy.csv:1:5: the control character U+001B`},
	{name: "terminal codes in a name", file: "services/\x1b[2J.csv", edit: []string{"", "p, a\n"}, want: `"services/\x1b[2J.csv": a path in a bundle is made of letters, digits, dots, hyphens and underscores`},
	// service.yaml
	{name: "service of another name", edit: []string{"service: orders", "service: order"}, want: `service.yaml:1:10: the service is named "order" and its directory "orders"; they must be the same`},
	{name: "unknown value", edit: []string{"tls: required", "tls: none", "parameters: refuse", "parameters: keep-all", "mode: required", "mode: maybe", "count: allowed", "count: some"}, want: `service.yaml:5:1: tls is required or optional, not "none"
service.yaml:6:31: parameters is refuse or keep, not "keep-all"
service.yaml:7:12: mode is required, optional or none, not "maybe"
service.yaml:20:62: count is allowed, denied or all, not "some"`},
	{name: "unmatched", edit: []string{"unmatched: 404", "unmatched: 200"}, want: `service.yaml:36:1: unmatched is 403 or 404, not "200"`},
	{name: "unknown authenticator", edit: []string{"accept: [corp, machines]", "accept: [crop, machines, machines]"}, want: `service.yaml:7:37: there is no authenticator "crop" (did you mean "corp"?)
service.yaml:7:53: "machines" stands twice`},
	{name: "no authenticator", edit: []string{", accept: [corp, machines], audiences: [orders-api]", ""}, want: `service.yaml:7:1: identity.accept must name the authenticators whose subjects may call, or identity.mode be none`},
	{name: "no audience", edit: []string{", audiences: [orders-api]", ""}, want: `service.yaml:7:1: identity.audiences is mandatory where tokens are accepted: without it a token for another API passes`},
	{name: "empty audience", edit: []string{"[orders-api]", "[orders-api, '']"}, want: `service.yaml:7:54: an empty audience`},
	{name: "identity none and accept", edit: []string{"mode: required", "mode: none"}, want: `service.yaml:7:24: accept has no meaning: identity is none for all routes
service.yaml:20:48: the route "read-order" can be called without a subject: say what happens then, missing: deny, skip or share
service.yaml:31:5: scopes cannot be met: identity is none`},
	{name: "optional without a word on missing", edit: []string{"mode: required", "mode: optional"}, want: `service.yaml:20:48: the route "read-order" can be called without a subject: say what happens then, missing: deny, skip or share`},
	{name: "optional on one route", edit: []string{"limits: [per-subject]}", "limits: [per-subject], identity: optional}"}, want: `service.yaml:20:48: the route "read-order" can be called without a subject: say what happens then, missing: deny, skip or share`},
	{name: "subject's limit on a public route", edit: []string{"access: public}", "access: public, limits: [per-subject]}"}, want: `service.yaml:20:48: the route "health" can be called without a subject: say what happens then, missing: deny, skip or share`},
	{name: "what a public route cannot have", edit: []string{"access: public}", "access: public, scopes: [a], same: [params.id, action]}"}, want: `service.yaml:24:74: scopes has no effect on a public route
service.yaml:24:87: same has no effect on a public route
service.yaml:24:94: unknown attribute "params.id": the path has no parameter {id}`},
	{name: "no such model", edit: []string{"model: model.conf", "model: modle.conf"}, want: `model.conf: nothing in the bundle refers to this file
service.yaml:10:12: the bundle has no file "modle.conf" (did you mean "model.conf"?)`},
	{name: "no such rules", edit: []string{"/shared/roles.csv, policy.csv", "roles.csv, policy.csv"}, want: `service.yaml:11:13: the bundle has no file "roles.csv" (did you mean "/shared/roles.csv"?)
shared/roles.csv: nothing in the bundle refers to this file`},
	{name: "policy without a name", edit: []string{"- name: main", "- name: Main"}, want: `service.yaml:9:11: a policy needs a name; a name is 1 to 63 lower-case letters, digits and hyphens, and begins with a letter or digit`},
	{name: "attributes that cannot exist", edit: []string{"sub: subject.key", "sub: subject.kye", "from: subject.roles", "from: claims", "x-durward-subject: subject.id", "x-durward-subject: subject", "by: [client.network]}\n  per-subject", "by: [client.netwrok]}\n  per-subject"}, want: `service.yaml:12:20: unknown attribute "subject.kye", did you mean "subject.key"?
service.yaml:13:25: "claims" is a whole object; name one attribute of it
service.yaml:15:32: "subject" is a whole object; name one attribute of it
service.yaml:19:38: unknown attribute "client.netwrok", did you mean "client.network"?`},
	{name: "client without an address rule", noAddress: true, want: `service.yaml:19:38: "client.network" cannot be used: the server was not told how the client's address is found (client address: peer, xff or header)
service.yaml:22:49: "client.network" cannot be used: the server was not told how the client's address is found (client address: peer, xff or header)`},
	{name: "upstream names", edit: []string{"x-durward-subject: subject.id", "x-envoy-a: subject.id, content-length: subject.id, X-A: subject.id, 'a b': subject.id, ':path': action", "remove: [authorization]", "remove: [host, x-durward-tenant]"}, want: `service.yaml:15:24: "x-envoy-a" cannot be set: headers of the gateway cannot be changed
service.yaml:15:52: "content-length" cannot be set: headers that frame or route a message cannot be changed
service.yaml:15:69: "X-A" cannot be set: write header names in lower case
service.yaml:15:88: "a b" cannot be set: no header name
service.yaml:15:109: ":path" cannot be set: pseudo headers cannot be changed
service.yaml:16:12: "host" cannot be removed: headers that frame or route a message cannot be changed
service.yaml:16:18: "x-durward-tenant" is set and removed`},
	{name: "no such limit", edit: []string{"limits: [per-order]", "limits: [per-odrer, per-address, per-address]"}, want: `service.yaml:34:14: there is no limit "per-odrer" (did you mean "per-order"?)
service.yaml:34:38: "per-address" stands twice`},
	{name: "limit without rate and by", edit: []string{"per-order: {rate: 10/min, by: [params.id], cost: request.size}", "per-order: {burst: -1}"}, want: `service.yaml:21:3: a limit needs a rate, as in 100/min
service.yaml:21:3: a limit needs by: the attributes that tell clients apart; write by: [] for one counter for all
service.yaml:21:22: burst is from 1 to 1000000000`},
	{name: "limit's cost", edit: []string{"cost: request.size", "cost: 0", "cost: 2}", "cost: [1]}"}, want: `service.yaml:20:101: a cost is a whole number or the name of an attribute
service.yaml:21:52: a cost is from 1 to 1000000000`},
	{name: "limit's cost that is no attribute", edit: []string{"cost: request.size", "cost: request.sise"}, want: `service.yaml:21:52: unknown attribute "request.sise", did you mean "request.size"?`},
	{name: "limit of two files", edit: []string{"  per-order: {", "  everyone: {rate: 1/s, by: []}\n  per-order: {"}, want: `service.yaml:21:3: the bundle shares a limit of the name "everyone"; a name means one limit`},
	{name: "gate and subject", edit: []string{"count: allowed, ", "at: gate, "}, want: `service.yaml:20:48: "subject.key" cannot be used: a limit at the gate is taken before the subject is known`},
	{name: "limit's parameter that a route lacks", edit: []string{"limits: [per-subject]}", "limits: [per-order]}", "limits: [logins]}", "limits: [logins, per-order]}"}, want: `service.yaml:21:34: on the route "log-in": unknown attribute "params.id": the path has no parameter {id}; say missing: skip, or do not use the limit there`},
	{name: "limit's missing", edit: []string{"by: [params.id]", "by: [{attr: params.id, missing: '-'}]"}, want: `service.yaml:21:52: missing is deny, skip or share, not "-"`},
	{name: "limit's distinct attribute that is none", edit: []string{"cost: request.size", "distinct: ''"}, want: `service.yaml:21:56: the name of an attribute is missing`},
	{name: "limit's distinct attribute without an address rule", noAddress: true, edit: []string{"cost: request.size", "distinct: client.address", "[client.network, route.name]", "[route.name]", "  per-address: {rate: 1000/min, by: [client.network]}", "  per-address: {rate: 1000/min, by: []}"}, want: `service.yaml:21:56: "client.address" cannot be used: the server was not told how the client's address is found (client address: peer, xff or header)`},
	{name: "limit's distinct parameter that a route lacks", edit: []string{"by: [params.id], cost: request.size", "by: [], distinct: params.id", "limits: [logins]}", "limits: [logins, per-order]}"}, want: `service.yaml:21:47: on the route "log-in": unknown attribute "params.id": the path has no parameter {id}; say missing: skip, or do not use the limit there`},
	{name: "limit's distinct values of what is missing", edit: []string{"cost: request.size", "distinct: {attr: resource.id, missing: x}"}, want: `service.yaml:21:76: missing is deny, skip or share, not "x"`},
	{name: "limit's concurrency of zero", edit: []string{"cost: request.size", "cost: request.size, concurrency: 0"}, want: `service.yaml:21:66: concurrency is 1 or more; leave it out for the default`},
	{name: "limit's other release", edit: []string{"rate: 10/min, by: [params.id], cost: request.size", "concurrency: 5, expires: 1s, by: [params.id], without_release: allow"}, want: `service.yaml:21:61: without_release is deny or expire, not "allow"`},
	{name: "limit's burst of zero", edit: []string{"cost: request.size", "cost: request.size, burst: 0"}, want: `service.yaml:21:66: burst is 1 or more; leave it out for the default`},
	{name: "limit's burst of minus zero", edit: []string{"cost: request.size", "cost: request.size, burst: -0"}, want: `service.yaml:21:66: burst is 1 or more; leave it out for the default`},
	{name: "limit's conditions on what cannot exist", edit: []string{"cost: request.size}", "when: {subject.kid: user, subject: {present: true}, request.method: POST}, cost: request.size}"}, want: `service.yaml:21:66: unknown attribute "subject.kid", did you mean "subject.id"?
service.yaml:21:72: "subject" is a whole object; name one attribute of it`},
	{name: "limit's condition on a key that the format lacks", edit: []string{"cost: request.size}", "when: {request.method: {equals: POST}}}"}, want: `service.yaml:21:70: unknown key "equals" (known here: is, not, contains, present)`},
	{name: "limit's condition on a mapping", edit: []string{"cost: request.size}", "when: {request.method: [{is: POST}]}}"}, want: `service.yaml:21:70: expected text, a number, true or false, found a mapping`},
	{name: "limit's condition at the gate", edit: []string{"at: gate, ", "at: gate, when: {subject.kind: user}, "}, want: `service.yaml:22:121: "subject.kind" cannot be used: a limit at the gate is taken before the subject is known`},
	{name: "limit's condition without an address rule", noAddress: true, edit: []string{"cost: request.size}", "when: {client.address: 192.0.2.1}}", "[client.network, route.name]", "[route.name]", "  per-address: {rate: 1000/min, by: [client.network]}", "  per-address: {rate: 1000/min, by: []}"}, want: `service.yaml:21:69: "client.address" cannot be used: the server was not told how the client's address is found (client address: peer, xff or header)`},
	{name: "limit's condition that a route cannot meet", edit: []string{"by: [params.id], cost: request.size}", "by: [], when: {params.id: a}}", "limits: [logins]}", "limits: [logins, per-order]}"}, want: `service.yaml:21:55: on the route "log-in": unknown attribute "params.id": the path has no parameter {id}; do not use the limit there`},
	{name: "limit's class of what cannot exist", edit: []string{"rate: 10/min, by: [params.id]", "by: [params.id], by_class: {of: subject.rolse, first_of: [{gold: 10/min}], otherwise: 1/min}"}, want: `service.yaml:21:47: unknown attribute "subject.rolse", did you mean "subject.roles"?`},
	{name: "limit's class of nothing", edit: []string{"rate: 10/min, by: [params.id]", "by: [params.id], by_class: {first_of: [{gold: 10/min}], otherwise: 1/min}"}, want: `service.yaml:21:32: the name of an attribute is missing`},
	{name: "limit's class of a burst of zero", edit: []string{"rate: 10/min, by: [params.id]", "by: [params.id], by_class: {of: subject.roles, first_of: [{gold: {rate: 10/min, burst: 0}}], otherwise: 1/min}"}, want: `service.yaml:21:95: burst is 1 or more; leave it out for the default`},
	{name: "limit's class without a rate's form", edit: []string{"rate: 10/min, by: [params.id]", "by: [params.id], by_class: {of: subject.roles, first_of: [{gold: 10}], otherwise: [1/min]}"}, want: `service.yaml:21:80: expected text, found a number (put it in quotes: "10")
service.yaml:21:97: expected text, found a list`},
	{name: "login without a limit", edit: []string{"limits: [logins]}", "limits: []}", "defaults: {limits: [per-address, everyone], ", "defaults: {"}, want: `service.yaml:25:83: credentials are tried here: a login needs a limit`},
	{name: "same", edit: []string{"same: [subject.tenant, params.tenant]", "same: [params.tenat]"}, want: `service.yaml:33:5: same compares two attributes or more
service.yaml:33:12: unknown attribute "params.tenat": the path has no parameter {tenat}`},
	{name: "resource", edit: []string{"{type: order, id: params.id, properties: {tenant: params.tenant}}", "{id: params.oid, properties: {tenant: subject.tenant, self: resource.id, all: request}}"}, want: `service.yaml:32:5: a resource needs a type
service.yaml:32:20: unknown attribute "params.oid": the path has no parameter {oid}
service.yaml:32:53: "subject.tenant" cannot be used: a resource does not depend on who asks
service.yaml:32:75: "resource.id" describes the resource by itself
service.yaml:32:93: "request" is a whole object; name one attribute of it`},
	{name: "scopes without identity", edit: []string{"    scopes: [orders:write]\n", "    scopes: [orders:write]\n    identity: none\n"}, want: `service.yaml:31:5: scopes cannot be met: identity is none`},
	{name: "assurance without identity", edit: []string{"    scopes: [orders:write]\n", "    assurance: {max_age: 5min}\n    identity: none\n"}, want: `service.yaml:31:5: assurance cannot be met: identity is none`},
	{name: "assurance of everybody", edit: []string{"methods: [GET], access: public", "methods: [GET], access: public, assurance: {max_age: 5min}"}, want: `service.yaml:24:74: assurance has no effect on a public route`},
	{name: "routes are compiled", edit: []string{"path: /orders/health", "path: orders/health", "methods: [POST]\n", "methods: [post]\n"}, want: `service.yaml:24:26: path template: "orders/health" does not begin with /
service.yaml:29:15: "post" is no method; methods are upper case`},
	{name: "hosts are compiled", edit: []string{"host: api.example.com, prefix: /orders", "host: orders.example.com"}, want: `service.yaml:4:5: orders.example.com stands twice`},
	// not enforced yet
	{name: "a key file beside fetched keys", file: "bundle.yaml", edit: []string{"jwks: {file: keys/corp.jwks.json}", "jwks: {url: https://idp.example.com/keys}"}, want: `keys/corp.jwks.json: nothing in the bundle refers to this file`},
	{name: "keys not enforced", edit: []string{"defaults:", "cors: {origins: [https://app.example.com]}\ndefaults:"}, want: `service.yaml:17:1: "cors" is part of the format, but this version does not enforce it; remove it`},
	{name: "a candidate of nothing", edit: []string{"defaults:", "candidate: {rules: [policy.next.csv]}\ndefaults:"}, want: `service.yaml:17:21: the bundle has no file "policy.next.csv"`},
	{name: "observe without permission", edit: []string{"defaults:", "observe: [{route: log-in, until: \"2026-03-01\"}]\ndefaults:"}, want: `service.yaml:17:1: observe lets denied requests pass, and the operator has not permitted it for this bundle (bundles: [{dir: …, observe: true}] in the server's settings)`},
	{name: "limit's lease of zero", edit: []string{"count: allowed, ", "lease: 0, "}, want: `service.yaml:20:62: lease is 1 or more; leave it out for the default`},
	{name: "openapi.yaml", file: "services/orders/openapi.yaml", edit: []string{"", "x"}, want: `openapi.yaml: this file is part of the format, but this version does not enforce it; remove it`},
	{name: "ratelimits", file: "ratelimits/a.yaml", edit: []string{"", "x"}, want: `ratelimits/a.yaml:1:1: expected a mapping, found the text "x"`},
	{name: "ratelimits of another kind", file: "ratelimits/a.json", edit: []string{"", "{}"}, want: `ratelimits/a.json: this version does not know such a file at this place`},
	{name: "ratelimits deeper", file: "ratelimits/a/b.yaml", edit: []string{"", "domain: a"}, want: `ratelimits/a/b.yaml: this version does not know such a file at this place`},
	{name: "ratelimits that nobody enforces", file: "ratelimits/a.yaml", edit: []string{"", "domain: a"}, want: `ratelimits/a.yaml: this file is part of the format, but this program does not enforce it`},
	{name: "entities", file: "entities/a.yaml", edit: []string{"", "x"}, want: `entities/a.yaml: this file is part of the format, but this version does not enforce it; remove it`},
	{name: "threats", file: "threats.yaml", edit: []string{"", "x"}, want: `threats.yaml: this file is part of the format, but this version does not enforce it; remove it`},
	{name: "tests", file: "tests/a.yaml", edit: []string{"", "suite: a\ncase: []\n"}, want: `tests/a.yaml:2:1: unknown key "case" (did you mean "cases"?)`},
	{name: "a test's file", file: "tests/a.toml", edit: []string{"", "x"}, want: `tests/a.toml: this version does not know such a file at this place`},
	{name: "a golden table that is no text", file: "tests/a.csv", edit: []string{"", "a\x00"}, want: `tests/a.csv:1:2: the control character U+0000`},
}

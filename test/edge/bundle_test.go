package edge

// The services that the tests add to the quickstart's bundle.
const (
	edgeService = `service: edge
match:
  - {host: edge.example.com}
  - {host: plain.example.com}
identity: {mode: required, accept: [corp, workloads], audiences: [edge-api]}
policies:
  - name: main
    model: model.conf
    rules: [policy.csv]
    request: {sub: subject.key, act: action}
    token_roles: {from: subject.roles, relation: g}
upstream:
  headers: {x-durward-subject: subject.id, x-durward-roles: subject.roles, x-edge-tier: extensions.tier}
  remove: [authorization]
limit_definitions:
  local: {rate: 5/24h, by: [client.network], count: allowed, missing: deny}
  shared: {rate: 100000/s, by: [subject.key], on_error: local_share}
  open: {rate: 1000/24h, by: [subject.key], on_error: allow}
  strict: {rate: 1000/24h, by: [subject.key], on_error: deny}
routes:
  - {name: health, path: /health, methods: [GET], access: public}
  - {name: public, path: "/public/{rest...}", methods: [GET, POST], access: public}
  - {name: pair, path: /a/b, methods: [GET], action: things:read}
  - {name: vault, path: /vault, methods: [GET], action: things:read, assurance: {acr: ["urn:example:mfa", phr], max_age: 10min}}
  - {name: thing, path: "/things/{id}", methods: [GET, HEAD], action: things:read}
  - {name: admin, path: /admin, methods: [GET], action: things:admin}
  - {name: admin-tree, path: "/admin/{rest...}", methods: [GET], action: things:admin}
  - {name: socket, path: /socket, methods: [GET], action: things:read}
  - {name: counted, path: /counted, methods: [GET], access: public, limits: [local]}
  - {name: shared, path: /shared, methods: [GET], action: things:read, limits: [shared]}
  - {name: open, path: /open, methods: [GET], action: things:read, limits: [open]}
  - {name: strict, path: /strict, methods: [GET], action: things:read, limits: [strict]}
  - name: upload
    path: /upload
    methods: [POST]
    action: things:write
    body: {max: 16KiB, types: [application/json]}
`

	greeterService = `service: greeter
match:
  - {host: grpc.example.com}
identity: {mode: required, accept: [corp], audiences: [edge-api]}
policies:
  - name: main
    model: /services/edge/model.conf
    rules: [/services/edge/policy.csv]
    request: {sub: subject.key, act: action}
    token_roles: {from: subject.roles, relation: g}
limit_definitions:
  once: {rate: 1/24h, by: [subject.key]}
routes:
  - {name: hello, path: /edge.Greeter/Hello, methods: [POST], action: things:read}
  - {name: once, path: /edge.Greeter/Once, methods: [POST], action: things:read, limits: [once]}
  - {name: admin, path: /edge.Greeter/Admin, methods: [POST], action: things:admin}
`

	filesService = `service: files
match:
  - {host: files.example.com}
path: {encoded_slash: keep}
identity: {mode: required, accept: [corp], audiences: [edge-api]}
policies:
  - name: main
    model: /services/edge/model.conf
    rules: [/services/edge/policy.csv]
    request: {sub: subject.key, act: action}
    token_roles: {from: subject.roles, relation: g}
routes:
  - {name: file, path: "/files/{id}", methods: [GET], action: things:read}
  - {name: open, path: "/open/{id}", methods: [GET], access: public}
`

	edgeModel = `[request_definition]
r = sub, act

[policy_definition]
p = sub, act

[role_definition]
g = _, _

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = g(r.sub, p.sub) && r.act == p.act
`

	edgePolicy = `p, reader, things:read
p, writer, things:write
p, user:corp:root, things:admin
p, user:corp:root, things:read
g, service:workloads:spiffe://example.com/ns/shop/batch, reader
`
)

// bundleFiles are the files of those services.
func bundleFiles() map[string]string {
	return map[string]string{
		"services/edge/service.yaml":    edgeService,
		"services/edge/model.conf":      edgeModel,
		"services/edge/policy.csv":      edgePolicy,
		"services/greeter/service.yaml": greeterService,
		"services/files/service.yaml":   filesService,
	}
}

// Package authz asks a Durward server whether a call may pass.
//
//	client, err := authz.New("dns:///durward.internal:9191")
//	decision, err := client.Check(ctx, authz.Request{Operation: &authz.Operation{
//		Service: "orders", Action: "orders:refund", ResourceType: "order", ResourceID: "7", Credential: token,
//	}})
//
// The error is nil if, and only if, the call may pass, so that a forgotten look at the decision denies. HTTP handlers and
// gRPC servers are protected by the middleware in httpauthz and grpcauthz. Any program may import the package; it needs
// gRPC and protobuf and nothing of the server. It never decides by itself, with one exception that must be spelled out:
// FailOpen. It does not cache, because answers charge limits, and it does not repeat a check that a server may have seen.
package authz

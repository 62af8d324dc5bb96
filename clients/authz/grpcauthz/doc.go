// Package grpcauthz protects gRPC servers: every RPC is first put to a Durward server, as the HTTP/2 request that it is.
//
//	grpc.NewServer(
//		grpc.ChainUnaryInterceptor(grpcauthz.UnaryServer(client)),
//		grpc.ChainStreamInterceptor(grpcauthz.StreamServer(client)),
//	)
//
// A denial is a status: Unauthenticated, PermissionDenied, ResourceExhausted, Unavailable and their like, with an ErrorInfo
// that holds the public reason and the decision's id. An allowed RPC reaches the handler without what the client sent
// under the names that the server sets or removes; the decision is in its context (authz.DecisionFrom). A stream is
// decided once, when it begins. Any program may import the package. It does not look at messages.
package grpcauthz

// Package httpauthz protects net/http handlers: every request is first put to a Durward server, whole.
//
//	http.ListenAndServeTLS(addr, cert, key, httpauthz.New(client)(mux))
//
// A denial is answered as Durward's gateway adapters answer it: status, headers and a problem document (RFC 9457). An
// allowed request reaches the handler without what the client sent under the names that the server sets or removes; the
// decision is in its context (authz.DecisionFrom). Any program may import the package. It must stand outside of whatever
// rewrites requests, because it asks about the request as it arrived, and it does not look at what the handler answers.
package httpauthz

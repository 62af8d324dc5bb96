// Package durwardv1 is the wire form of the native API, DecisionService, and of the decision log's Record.
//
// It is generated from the .proto files beside it. The native adapter, the clients and the audit log's tests import
// it; nothing inside the engine does, so that the wire form can grow without it. It holds no logic.
package durwardv1

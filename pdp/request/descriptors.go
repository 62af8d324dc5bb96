package request

// Descriptors asks whether limits have room for something that only its caller knows, and asks nothing else: there is no
// path, no credential and no policy to look at.
type Descriptors struct {
	// Domain names the limits that are meant.
	Domain string
	// Hits are what each descriptor costs that does not say so itself; 0 is 1.
	Hits uint32
	// List are the descriptors, each judged by itself.
	List []Descriptor
}

// Descriptor is one description of what happens: pairs that lead from the general to the particular.
type Descriptor struct {
	Pairs []Pair
	// Override is a limit that the caller brings; nil takes the domain's.
	Override *Override
	// Hits are the descriptor's own cost; 0 looks and charges nothing, nil takes that of all.
	Hits *uint64
}

// Pair is a part of a descriptor.
type Pair struct {
	Key, Value string
}

// Override is a limit that a caller brings.
type Override struct {
	RequestsPerUnit uint32
	// Unit is its name, "minute"; one that nobody knows is refused.
	Unit string
}

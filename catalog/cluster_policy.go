package catalog

// KindClusterPolicy is the kind of documents that are policies of clusters; they have
// the names of the clusters. See gate.KeptClusterPolicy.
const KindClusterPolicy = "cluster-policy"

// The definitions of Istio's kinds, for tests in a cluster.
module weft.dev/istio

go 1.26.0

require istio.io/api v1.32.0

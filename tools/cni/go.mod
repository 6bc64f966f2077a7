module weft.dev/cni

go 1.26

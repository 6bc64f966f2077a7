"""weft and a whole cluster, from outside: what is there, and installing, upgrading and removing weft."""

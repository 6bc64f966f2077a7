"""The command line, `weft`: one file per group of commands, imported only when it is used."""

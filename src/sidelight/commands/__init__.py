"""One file per command: what `sidelight X` and `sidelight.X` do; the only floor where training meets evaluation."""

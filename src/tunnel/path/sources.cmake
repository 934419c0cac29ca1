list(APPEND tunnel_sources path/engine.c path/peers.c path/candidates.c path/discovery.c
	path/quality.c path/manual.c path/local.c path/stun.c)

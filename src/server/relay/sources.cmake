list(APPEND server_sources relay/derp_server.c relay/derp_frames.c
	relay/relay_bootstrap.c relay/relay_clients.c relay/relay_server.c
	relay/relay_verify.c relay/stun_server.c)
